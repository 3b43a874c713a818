//! What the process that publishes has, and what a container gets by it: nothing
//! but what comes in.

use std::{fs, net::TcpListener, path::PathBuf};

use harness::{Test, claims, host, needs};

use crate::{
    container::{Container, User, place, users},
    lab::{HOST, Lab},
    server::ask,
};

pub(crate) const TESTS: &[Test] = claims![
    the_process_that_publishes_has_no_rights,
    the_process_that_publishes_has_sockets_and_nothing_else,
    a_container_that_is_reached_reaches_nobody,
    what_publishes_can_be_watched,
    a_picture_shows_the_port_of_a_container,
];

fn the_process_that_publishes_has_no_rights() {
    for user in users() {
        let container = Container::start(user, &["-p", ":80"]);
        let publisher = container.publisher();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(host::status(publisher, set), "0000000000000000");
        }
        assert_eq!(host::status(publisher, "NoNewPrivs"), "1");
        assert_eq!(host::status(publisher, "Seccomp"), "2");
        if needs::is_root() && user == User::Same {
            let user = host::status(publisher, "Uid");
            let init = host::status(container.init(), "Uid");
            assert_ne!(user.split('\t').next(), Some("0"));
            assert_ne!(user, init);
            assert_eq!(host::status(publisher, "Groups"), "");
        }
    }
}

fn the_process_that_publishes_has_sockets_and_nothing_else() {
    needs::root();
    for user in users() {
        let container = Container::start(user, &["-p", ":80", "-p", ":80/udp"]);
        let publisher = container.publisher();
        let files = fs::read_dir(format!("/proc/{publisher}/fd"));
        let files = files.expect("root may").map(|it| {
            let path = it.expect("an entry").path();
            fs::read_link(path)
                .expect("it is open")
                .display()
                .to_string()
        });
        let mut files: Vec<String> = files.collect();
        files.iter_mut().for_each(|it| {
            it.truncate(it.find(":[").unwrap_or(it.len()));
        });
        files.sort();
        let null = "/dev/null";
        let expected = [null, null, null, "anon_inode", "socket", "socket"];
        assert_eq!(files, expected);
        let net = |pid: i32| -> PathBuf {
            fs::read_link(format!("/proc/{pid}/ns/net")).expect("root may")
        };
        assert_eq!(net(publisher), net(container.init()));
    }
}

/// A way in is no way out: neither to the host's servers nor to others' ports.
fn a_container_that_is_reached_reaches_nobody() {
    for user in users() {
        let lab = Lab::new();
        lab.host.run(|| {
            let _loopback = TcpListener::bind("127.0.0.1:7001").expect("free");
            let _all = TcpListener::bind("0.0.0.0:7002").expect("free");
            let all = ["-p", "0.0.0.0:8080:80", "-p", ":80"];
            let _other = Container::start(user, &["-p", "0.0.0.0:8081:80"]);
            let container = Container::start(user, &all);
            let (_, way_in) = container.chosen();
            for (address, expected) in [
                ("127.0.0.1:7001", "connection refused"),
                ("127.0.0.1:8081", "connection refused"),
                ("127.0.0.1:8080", "connection refused"),
                (&format!("{HOST}:7002"), "network unreachable"),
                (&format!("{HOST}:8081"), "network unreachable"),
                ("127.0.0.1:80", "hello"),
            ] {
                let answer = ask(way_in, &format!("try {address}"));
                assert_eq!(answer.expect("an answer"), expected, "{address}");
            }
        });
    }
}

/// Until it is silent: by --explain, and afterwards it still publishes.
fn what_publishes_can_be_watched() {
    let container = Container::start(User::Same, &["--explain", "-p", ":80"]);
    let (_, address) = container.chosen();
    assert_eq!(ask(address, "hello").expect("an answer"), "hello");
}

fn a_picture_shows_the_port_of_a_container() {
    let lab = Lab::new();
    lab.host.run(|| {
        let draw = || {
            let mut command = place().tool(User::Same);
            let drawn = command.args(["network", "--picture"]).output();
            String::from_utf8(drawn.expect("it runs").stdout).expect("text")
        };
        let before = draw();
        let _container = Container::start(User::Same, &["-p", "8077:80"]);
        let after = draw();
        for picture in [&before, &after] {
            assert!(picture.starts_with("<svg "), "{picture}");
            assert!(picture.ends_with("</svg>\n"), "{picture}");
        }
        let port = ">127.0.0.1:8077<";
        assert!(!before.contains(port) && after.contains(port), "{after}");
    });
}
