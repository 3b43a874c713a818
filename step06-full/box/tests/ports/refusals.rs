//! Ports that can't be had, and what is said then.

use std::net::{TcpListener, UdpSocket};

use harness::{Test, claims, needs};

use crate::{
    container::{Container, User, place, users},
    lab::Lab,
};

pub(crate) const TESTS: &[Test] = claims![
    a_port_in_use_names_who_has_it,
    a_port_that_a_container_has_is_in_use,
    an_address_of_another_machine,
    the_same_port_twice,
    a_port_below_1024_as_a_plain_user,
    what_is_no_port,
    the_first_port_of_a_range_that_is_free,
];

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn a_port_in_use_names_who_has_it() {
    let us = format!("(process {})", std::process::id());
    let listener = TcpListener::bind("127.0.0.1:0").expect("one is free");
    let port = listener.local_addr().expect("it is bound").port();
    let options = ["-p".to_owned(), format!("{port}:80")];
    for user in users() {
        let options = options.each_ref().map(String::as_str);
        let text = place().refuses(user, &options);
        let expected = match user {
            User::Same => us.as_str(),
            // Who may not look into our process, is told whose it is.
            User::Plain => "a process of the user root has this port",
        };
        let call = "sin_addr=inet_addr(\"127.0.0.1\")}, 16): EADDRINUSE";
        assert_says(&text, &[call, expected, "takes one that is free"]);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("one is free");
    let port = socket.local_addr().expect("it is bound").port();
    let udp = format!("0.0.0.0:{port}:80/udp");
    let text = place().refuses(User::Same, &["-p", &udp]);
    assert_says(&text, &["EADDRINUSE", &us]);
}

fn a_port_that_a_container_has_is_in_use() {
    for user in users() {
        let container = Container::start(user, &["-p", ":80"]);
        let (_, address) = container.chosen();
        let again = format!("{}:80", address.port());
        let text = place().refuses(user, &["-p", &again]);
        assert_says(&text, &["EADDRINUSE", "has this port"]);
        if user == User::Same && needs::is_root() {
            assert_says(&text, &["\"box-ports\""]);
        }
    }
}

fn an_address_of_another_machine() {
    let text = place().refuses(User::Same, &["-p", "192.0.2.77:8080:80"]);
    let words = ["EADDRNOTAVAIL", "no such address: it has 127.0.0.1"];
    assert_says(&text, &words);
}

fn the_same_port_twice() {
    let options = ["-p", "8080:80", "-p", "0.0.0.0:8080:81"];
    let text = place().refuses(User::Same, &options);
    assert_says(&text, &["want the same port of this machine"]);
}

fn a_port_below_1024_as_a_plain_user() {
    let lab = Lab::new();
    let text = lab
        .host
        .run(|| place().refuses(User::Plain, &["-p", "80:80"]));
    assert_says(&text, &["EACCES", "ports below 1024 are kept for root"]);
}

fn what_is_no_port() {
    for (spec, words) in [
        ("80:80/sctp", "neither tcp nor udp"),
        ("localhost:80:80", "no address"),
        ("::1:80:80", "in brackets"),
        ("80:0", "a container has no port 0"),
        ("70000:80", "is no port"),
    ] {
        let text = place().refuses(User::Same, &["-p", spec]);
        assert_says(&text, &[words]);
    }
}

fn the_first_port_of_a_range_that_is_free() {
    let lab = Lab::new();
    lab.host.run(|| {
        let _taken = TcpListener::bind("127.0.0.1:8000").expect("it is free");
        let range = ["-p", "8000-8002:80"];
        let first = Container::start(User::Same, &range);
        let second = Container::start(User::Plain, &range);
        let port = |it: &Container| it.chosen().1.port();
        assert_eq!((port(&first), port(&second)), (8001, 8002));
        let text = place().refuses(User::Same, &range);
        assert_says(&text, &["EADDRINUSE"]);
    });
}
