//! Who reaches a published port, and who does not.

use std::net::SocketAddr;

use harness::{Test, claims, needs};

use crate::{
    container::{Container, User, users},
    lab::{HOST, HOST_6, Lab, tool},
    server::{ask, attempt},
};

pub(crate) const TESTS: &[Test] = claims![
    without_an_address_only_this_machine_gets_in,
    everybody_gets_in_where_the_address_says_so,
    a_firewall_that_forwards_nothing_is_not_in_the_way,
    a_firewall_that_lets_nothing_in_is_obeyed,
    a_server_is_found_wherever_in_the_container_it_listens,
    the_client_of_a_server_is_the_container_itself,
    a_range_is_a_port_each,
    version_6_is_reached_by_version_6,
];

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// Who gets an answer from port 8080 of the host: from the host by its loopback
/// and its own address, from the neighbour, from the container itself.
fn who_gets_in(lab: &Lab, container: &Container) -> [bool; 4] {
    // The way into the container that is not under test.
    let (_, way_in) = container.chosen();
    let by = |ip| attempt(&address(ip, 8080).to_string()) == "hello";
    let own = format!("try {HOST}:8080");
    [
        lab.host.run(|| by("127.0.0.1")),
        lab.host.run(|| by(HOST)),
        lab.lan.run(|| by(HOST)),
        lab.host
            .run(|| ask(way_in, &own).expect("it answers") == "hello"),
    ]
}

fn assert_gets_in(options: &[&str], rules: &str, expected: [bool; 4]) {
    for user in users() {
        let lab = Lab::new();
        if !rules.is_empty() {
            let table = format!("add table inet wall; {rules}");
            lab.host.run(|| tool("nft", &table));
        }
        let container = lab.host.run(|| {
            let options = [options, &["-p", ":80"]].concat();
            Container::start(user, &options)
        });
        assert_eq!(who_gets_in(&lab, &container), expected, "{user:?}");
    }
}

fn without_an_address_only_this_machine_gets_in() {
    // The container has no way to the host's address.
    assert_gets_in(&["-p", "8080:80"], "", [true, false, false, false]);
}

fn everybody_gets_in_where_the_address_says_so() {
    let all = ["-p", "0.0.0.0:8080:80"];
    assert_gets_in(&all, "", [true, true, true, false]);
    let own = ["-p", "192.168.50.1:8080:80"];
    assert_gets_in(&own, "", [false, true, true, false]);
}

/// What Docker, ufw and firewalld set up, each in its way.
fn a_firewall_that_forwards_nothing_is_not_in_the_way() {
    needs::tool("nft");
    let drop = "add chain inet wall forward \
        { type filter hook forward priority filter; policy drop; }";
    let all = ["-p", "0.0.0.0:8080:80"];
    assert_gets_in(&all, drop, [true, true, true, false]);
}

fn a_firewall_that_lets_nothing_in_is_obeyed() {
    needs::tool("nft");
    let drop = "add chain inet wall input \
        { type filter hook input priority filter; policy drop; }; \
        add rule inet wall input iifname lo accept";
    let all = ["-p", "0.0.0.0:8080:80"];
    assert_gets_in(&all, drop, [true, true, false, false]);
}

fn a_server_is_found_wherever_in_the_container_it_listens() {
    for place in ["127.0.0.1:80", "[::1]:80", "0.0.0.0:80", "[::]:80"] {
        for user in users() {
            let port = ["-p", ":80"];
            let container = Container::serving_at(user, &port, place);
            let (_, address) = container.chosen();
            assert_eq!(ask(address, "hello").ok().as_deref(), Some("hello"));
        }
    }
}

/// What is lost: who it is that has connected.
fn the_client_of_a_server_is_the_container_itself() {
    let container = Container::start(User::Same, &["-p", ":80"]);
    let (_, address) = container.chosen();
    assert_eq!(ask(address, "peer").ok().as_deref(), Some("127.0.0.1"));
}

fn a_range_is_a_port_each() {
    let container = Container::start(User::Same, &["-p", "79-80"]);
    let (first, nobody) = container.chosen();
    let (second, server) = container.chosen();
    assert_eq!((&*first, &*second), ("79/tcp", "80/tcp"));
    assert_eq!(attempt(&server.to_string()), "hello");
    // Nobody listens at the other one.
    let answer = attempt(&nobody.to_string());
    // The second one: if it was over before anything was sent.
    let is_over = ["connection reset", "broken pipe"].contains(&&*answer);
    assert!(is_over, "{answer}");
}

fn version_6_is_reached_by_version_6() {
    for user in users() {
        let lab = Lab::new();
        let _container = lab.host.run(|| {
            Container::start(user, &["-p", "[::]:8080:80", "-p", "8080:80"])
        });
        let by = |ip| attempt(&address(ip, 8080).to_string());
        assert_eq!(lab.host.run(|| by("::1")), "hello");
        assert_eq!(lab.host.run(|| by("127.0.0.1")), "hello");
        assert_eq!(lab.lan.run(|| by(HOST_6)), "hello");
    }
}
