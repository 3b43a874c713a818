//! What Docker does, by hand, and what it makes of the same questions: a cable,
//! and rules that rewrite the destination of packets.

use std::{fs, net::SocketAddr};

use harness::{Test, claims, needs};

use crate::{
    container::{Container, User, users},
    lab::{HOST, Lab, Machine, ip, tool},
    server::{ask, attempt},
};

pub(crate) const TESTS: &[Test] = claims![
    a_container_with_a_cable_reaches_its_own_port,
    rewriting_reaches_all_but_the_loopback_address,
    rewriting_depends_on_who_forwards,
    rewriting_goes_round_a_firewall_that_lets_nothing_in,
];

/// Lays a cable from the lab's host to the container.
fn lay_cable(lab: &Lab, container: &Container) {
    let init = container.init();
    lab.host.run(|| {
        ip("link add box0 type bridge");
        ip("addr add 10.88.77.1/24 dev box0");
        ip("link set box0 up");
        ip(&format!(
            "link add cable type veth peer name eth0 netns {init}"
        ));
        ip("link set cable master box0");
        ip("link set cable up");
        for interface in ["box0", "wan"] {
            let file =
                format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
            fs::write(file, "1").expect("root may");
        }
    });
    Machine::of(init).run(|| {
        ip("addr add 10.88.77.2/24 dev eth0");
        ip("link set eth0 up");
        ip("route add default via 10.88.77.1");
    });
    // The neighbour finds its way back.
    lab.lan
        .run(|| ip("route add 10.88.77.0/24 via 192.168.50.1"));
}

/// Port 8081 of the host, as Docker publishes it without its proxy.
const REWRITE: &str = "add table ip rewrite; \
    add chain ip rewrite arriving { type nat hook prerouting priority dstnat; }; \
    add chain ip rewrite leaving { type nat hook output priority -100; }; \
    add rule ip rewrite arriving fib daddr type local tcp dport 8081 \
        dnat to 10.88.77.2:80; \
    add rule ip rewrite leaving ip daddr != 127.0.0.0/8 fib daddr type local \
        tcp dport 8081 dnat to 10.88.77.2:80";

/// By port 8080, which a process publishes, and by 8081: who gets in, from the
/// host by its loopback and its own address, and from the neighbour.
fn both_ways(rules: &str) -> [[bool; 3]; 2] {
    needs::tool("nft");
    let lab = Lab::new();
    let container = lab
        .host
        .run(|| Container::start(User::Same, &["-p", "0.0.0.0:8080:80"]));
    lay_cable(&lab, &container);
    lab.host.run(|| {
        tool("nft", REWRITE);
        if !rules.is_empty() {
            tool("nft", &format!("add table inet wall; {rules}"));
        }
    });
    [8080, 8081].map(|port| {
        let by = |ip| attempt(&format!("{ip}:{port}")) == "hello";
        [
            lab.host.run(|| by("127.0.0.1")),
            lab.host.run(|| by(HOST)),
            lab.lan.run(|| by(HOST)),
        ]
    })
}

/// Hairpin: out of the container, to the host's address, and in again.
fn a_container_with_a_cable_reaches_its_own_port() {
    needs::root();
    for user in users() {
        let lab = Lab::new();
        let container = lab.host.run(|| {
            Container::start(user, &["-p", "0.0.0.0:8080:80", "-p", ":80"])
        });
        lay_cable(&lab, &container);
        let (_, way_in): (_, SocketAddr) = container.chosen();
        let answer = lab.host.run(|| ask(way_in, &format!("try {HOST}:8080")));
        assert_eq!(answer.expect("an answer"), "hello", "{user:?}");
    }
}

fn rewriting_reaches_all_but_the_loopback_address() {
    let [process, rewriting] = both_ways("");
    assert_eq!(process, [true, true, true]);
    assert_eq!(rewriting, [false, true, true]);
}

fn rewriting_depends_on_who_forwards() {
    let drop = "add chain inet wall forward \
        { type filter hook forward priority filter; policy drop; }";
    let [process, rewriting] = both_ways(drop);
    assert_eq!(process, [true, true, true]);
    assert_eq!(rewriting, [false, true, false]);
}

/// What `ufw deny` means nothing to: moby/moby#4737.
fn rewriting_goes_round_a_firewall_that_lets_nothing_in() {
    let drop = "add chain inet wall input \
        { type filter hook input priority filter; policy drop; }; \
        add rule inet wall input iifname lo accept; \
        add rule inet wall input ct state established accept";
    let [process, rewriting] = both_ways(drop);
    assert_eq!(process, [true, true, false]);
    assert_eq!(rewriting, [false, true, true]);
}
