use super::*;

fn full(text: &str) -> String {
    let reference: Reference = text.parse().expect(text);
    let full = reference.to_string();
    assert_eq!(full.parse::<Reference>().expect(&full), reference);
    full
}

#[test]
fn names_mean_what_they_mean_to_docker() {
    for (text, expected) in [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("some/thing", "docker.io/some/thing:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("quay.io/a/b/c:d", "quay.io/a/b/c:d"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("127.0.0.1:5000/a:b", "127.0.0.1:5000/a:b"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("dir:/x", "dir:/x"),
        ("oci:/x", "oci:/x"),
        ("oci:/x:v1", "oci:/x:v1"),
        ("docker-archive:/x.tar", "docker-archive:/x.tar"),
    ] {
        assert_eq!(full(text), expected);
    }
    let digest = Digest::of("");
    let both = format!("docker.io/library/busybox:latest@{digest}");
    assert_eq!(full(&format!("busybox@{digest}")), both);
}

#[test]
fn what_is_no_name_is_refused() {
    for text in [
        "",
        "Busybox",
        "a//b",
        "a/../b",
        "-a",
        "a:",
        "a:b c",
        "a@sha256:1",
        "host.x/",
        "host.x:port/a",
        "ho?st.x/a",
        "dir:",
        "oci::tag",
        "a\n",
    ] {
        text.parse::<Reference>().expect_err(text);
    }
}
