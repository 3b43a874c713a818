use super::*;

#[test]
fn a_challenge_says_whom_to_ask_for_what() {
    let text = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="x""#;
    let pair = |name: &str, value: &str| (name.into(), value.into());
    let expected = Challenge::Bearer {
        realm: "https://auth.docker.io/token".into(),
        query: vec![
            pair("scope", "repository:a/b:pull,push"),
            pair("service", "registry.docker.io"),
        ],
    };
    assert_eq!(Challenge::parse(text).expect(text), expected);
    let basic = Challenge::parse(r#"basic realm="x""#).expect("basic");
    assert_eq!(basic, Challenge::Basic);
    for text in ["", "Negotiate", "Bearer", r#"Bearer realm"#, "Bearer x="] {
        let parsed = Challenge::parse(text);
        assert!(parsed.is_err(), "{text}: {parsed:?}");
    }
}

#[test]
fn a_password_goes_to_nobody_else() {
    for url in [
        "https://auth.docker.io/token",
        "http://localhost:5000/token",
        "http://127.0.0.1/token",
        "http://[::1]:5000/token",
    ] {
        assert!(is_private(url), "{url}");
    }
    for url in [
        "http://auth.docker.io/token",
        "http://127.evil.org/token",
        "http://localhost.evil.org/token",
        "http://localhost@evil.org/token",
        "file:///etc/passwd",
        "",
    ] {
        assert!(!is_private(url), "{url}");
    }
}

#[test]
fn a_login_is_found_under_dockers_names() {
    let config = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},
        "h:5000":{"auth":"Yzpk"},"https://old":{"auth":"ZTpm"},
        "elsewhere":{},"odd":{"auth":"a\r\nX: y"}},"credsStore":"pass"}"#;
    let find = |host| lookup(config, host);
    let is = |host, auth: &str| {
        assert_eq!(find(host).expect(host).as_deref(), Some(auth));
    };
    is("docker.io", "YTpi");
    is("h:5000", "Yzpk");
    is("old", "ZTpm");
    assert_eq!(find("other").expect("none"), None);
    let error = find("elsewhere").expect_err("it is kept elsewhere");
    assert!(error.to_string().contains("docker-credential-pass"));
    find("odd").expect_err("it would be another header");
}
