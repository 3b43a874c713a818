//! Programs that people run behind a published port.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use harness::{Test, claims, needs, wait_until};

use crate::{
    container::{place, users},
    server::connect,
};

pub(crate) const TESTS: &[Test] = claims![nginx_serves_behind_a_port];

/// This machine's nginx, in this machine's root, which is read-only there.
fn nginx_serves_behind_a_port() {
    needs::tool("nginx");
    for user in users() {
        let dir = tempfile::tempdir_in(place().path()).expect("a directory");
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.path(), all).expect("it is ours");
        let page = "<p>from a container</p>\n".repeat(10_000);
        fs::write(dir.path().join("index.html"), &page).expect("it is ours");
        let listener = std::net::TcpListener::bind("127.0.0.1:0");
        let address = listener.and_then(|it| it.local_addr()).expect("free");
        let configuration = "daemon off; master_process off; user root; \
            pid /tmp/pid; error_log stderr; events {} http { access_log off; \
            client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; \
            fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d; \
            scgi_temp_path /tmp/e; server { listen 80; root /site; } }";
        let file = dir.path().join("nginx.conf");
        fs::write(&file, configuration).expect("it is ours");
        let mut command: Command = place().tool(user);
        command.args(["run", "-p"]);
        command.arg(format!("{}:80", address.port()));
        for top in ["usr", "lib", "lib64", "etc"] {
            command.arg(format!("--volume=/{top}:/{top}:ro"));
        }
        command.arg(format!("--volume={}:/site:ro", dir.path().display()));
        command.args(["-", "/usr/sbin/nginx", "-c", "/site/nginx.conf"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let answer = wait_until("an answer of nginx", || {
            if let Some(code) = child.try_wait().expect("it is ours") {
                panic!("{code}");
            }
            let mut stream = connect(address).ok()?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer).filter(|it| !it.is_empty())
        });
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        child.wait().expect("it is ours");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with(&page));
    }
}
