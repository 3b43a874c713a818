//! What talks to a web server: whom it trusts, and how long it waits.

use std::{fs, time::Duration};

use anyhow::Context;
use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

/// Where distributions keep the certificates that the machine trusts: Debian,
/// Fedora, openSUSE.
const CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// Names another file of them, as with OpenSSL.
const CERTIFICATES_VARIABLE: &str = "SSL_CERT_FILE";

/// An agent follows redirects, and takes what shows who we are to no other
/// host. Whoever says nothing for so long is not waited for: the time of a whole
/// layer has no limit, since nobody knows how fast the line is.
pub(super) fn new(patience: Duration) -> anyhow::Result<Agent> {
    let tls = TlsConfig::builder().root_certs(certificates()?).build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(tls)
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .user_agent("container-in-six-steps");
    Ok(config.build().into())
}

/// The certificates that this machine trusts, or else those of Mozilla.
fn certificates() -> anyhow::Result<RootCerts> {
    let named = std::env::var(CERTIFICATES_VARIABLE).ok();
    let text = match &named {
        Some(path) => {
            Some(fs::read(path).with_context(|| format!("read({path:?})"))?)
        }
        None => CERTIFICATES.iter().find_map(|path| fs::read(path).ok()),
    };
    let Some(text) = text else {
        return Ok(RootCerts::WebPki);
    };
    let all = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(it)) => Some(it.to_owned()),
        _ => None,
    });
    let all: Vec<Certificate<'static>> = all.collect();
    Ok(RootCerts::from(all))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
        time::Instant,
    };

    use super::*;

    #[test]
    fn who_stops_in_the_middle_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let host = listener.local_addr().expect("an address");
        let stalled = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none";
            stream.write_all(head.as_bytes()).expect("write");
            // Open until the other side goes.
            let _ = stream.read(&mut [0; 1]);
        });
        let patience = Duration::from_millis(300);
        let agent = new(patience).expect("an agent");
        let start = Instant::now();
        let answer = agent.get(format!("http://{host}/")).call();
        let mut body = answer.expect("it begins").into_body().into_reader();
        let mut text = Vec::new();
        body.read_to_end(&mut text).expect_err("it never ends");
        assert!(start.elapsed() < 20 * patience, "{:?}", start.elapsed());
        drop((body, agent));
        stalled.join().expect("it was hung up on");
    }
}
