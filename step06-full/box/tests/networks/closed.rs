//! What a container can't do to its network.

use harness::{Test, claims};

use crate::room::says;

pub(crate) const TESTS: &[Test] = claims![
    nobody_pretends_to_be_another_one,
    raw_packets_are_given_on_request,
    a_network_is_not_configured_from_inside,
    a_neighbour_is_not_taken_for_a_router,
    a_bridge_of_others_is_not_taken,
];

fn nobody_pretends_to_be_another_one() {
    let said = says("box run --network box0 - /probe pretend 10.88.77.9 2>&1");
    for line in [
        "raw EPERM",
        "packet EPERM",
        "transparent EPERM",
        "tun no",
        "address EPERM",
        "hardware EPERM",
    ] {
        assert!(said.lines().any(|it| it == line), "{line}: {said}");
    }
    // It may be bound, and nothing is sent from there.
    assert!(said.contains("from E"), "{said}");
}

fn raw_packets_are_given_on_request() {
    let said = says(
        "box run --network box0 --raw-packets - /probe pretend 10.88.77.9 2>&1",
    );
    assert!(said.contains("raw yes"), "{said}");
    // Those of the level below are not among them.
    assert!(said.contains("packet EPERM"), "{said}");
    assert!(said.contains("hardware EPERM"), "{said}");
}

fn a_network_is_not_configured_from_inside() {
    let said = says(
        r#"
box run --network box0 - sh -c '
    ip address add 10.88.77.9/24 dev eth0 || echo address
    ip link set eth0 down || echo link
    ip route del default || echo route
    ip neighbour add 10.88.77.1 lladdr 02:00:00:00:00:01 dev eth0 || echo neighbour
    echo 1 > /proc/sys/net/ipv4/conf/eth0/forwarding || echo setting
' 2>/dev/null"#,
    );
    assert_eq!(said, "address\nlink\nroute\nneighbour\nsetting\n");
}

fn a_neighbour_is_not_taken_for_a_router() {
    let said = says(
        "box run --network box0 - cat /proc/sys/net/ipv6/conf/eth0/accept_ra \
         /proc/sys/net/ipv6/conf/eth0/accept_redirects",
    );
    assert_eq!(said, "0\n0\n");
}

fn a_bridge_of_others_is_not_taken() {
    let said = says(
        r#"
ip link add docker0 type bridge
box run --network docker0 - true 2>&1; echo $?
ip link show docker0 >/dev/null && echo still there
# Called as a cable of ours would be, and none.
ip link add dmz.2 type bridge
box run --network dmz - true 2>&1; echo $?
ip link show dmz.2 >/dev/null && echo still there
"#,
    );
    assert!(said.contains("no bridge of ours"), "{said}");
    assert!(said.contains(r#"RTM_NEWLINK("dmz.2""#), "{said}");
    assert_eq!(said.matches("125\nstill there\n").count(), 2, "{said}");
}
