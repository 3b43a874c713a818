//! Interfaces of the host that become the container's. The host is a network
//! namespace of the test's own, so that none of the machine's is touched.

use std::{fs::File, process::Command};

use harness::{Test, claims, needs};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};

use crate::bundle::{Bundle, text};

pub(crate) const TESTS: &[Test] = claims![
    an_interface_changes_sides_with_what_it_has,
    what_can_not_be_moved_stays,
    all_are_moved_or_none,
    a_template_makes_a_name_that_is_free,
    a_network_that_exists_gets_interfaces,
];

/// A network of this thread's own, as long as this is there.
struct OwnNetwork(File);

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        // Threads of tests are used again.
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("we were there");
    }
}

/// One in which there is a cable: of all kinds of interfaces that can be made,
/// each kernel of the project has this one.
fn network_with_a_cable() -> OwnNetwork {
    needs::root();
    needs::tool("ip");
    let before = File::open("/proc/thread-self/ns/net").expect("it is there");
    unshare(CloneFlags::CLONE_NEWNET).expect("root may");
    let network = OwnNetwork(before);
    ip("link add out0 type veth peer name out1");
    network
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("there is an ip");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    text(&output.stdout)
}

/// The names of the interfaces that we have, in order.
fn names() -> Vec<String> {
    let all = ip("-o link");
    let name = |line: &str| {
        let name = line.split(": ").nth(1).expect("a name");
        name.split('@').next().expect("a name").to_owned()
    };
    let mut names: Vec<String> = all.lines().map(name).collect();
    names.sort();
    names
}

/// A bundle that says what it has of this.
fn bundle(devices: Value, script: &str) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.config["linux"]["netDevices"] = devices;
    bundle.push(
        "/mounts",
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["ro"]}),
    );
    bundle
}

fn an_interface_changes_sides_with_what_it_has() {
    let _network = network_with_a_cable();
    ip("link set out0 mtu 1334");
    ip("link set out0 address 02:00:00:00:00:07");
    ip("addr add 192.0.2.7/24 brd + dev out0");
    ip("addr add 198.51.100.1 peer 198.51.100.2/32 dev out0");
    ip("addr add 2001:db8::7/64 dev out0");
    // Of no use elsewhere, and not to last.
    ip("addr add 192.0.2.99/32 dev out0 scope link");
    ip("addr add 203.0.113.9/24 dev out0 valid_lft 600 preferred_lft 600");
    ip("link set out1 up");
    let bundle = bundle(json!({"out0": {"name": "in0"}}), "sleep 60");
    bundle.create();
    assert_eq!(names(), ["lo", "out1"]);
    let pid = bundle.pid();
    let inside = |what: &str| {
        let all = ["-t", &pid.to_string(), "-n", "ip", "-o"].map(str::to_owned);
        let output = Command::new("nsenter")
            .args(all)
            .args(what.split(' '))
            .output();
        text(&output.expect("there is an nsenter").stdout)
    };
    let link = inside("link show in0");
    for part in ["mtu 1334", "02:00:00:00:00:07", ",UP"] {
        assert!(link.contains(part), "{part}: {link}");
    }
    let addresses = inside("addr show dev in0");
    for part in [
        "192.0.2.7/24 brd 192.0.2.255 scope global in0",
        "198.51.100.1 peer 198.51.100.2/32",
        "2001:db8::7/64",
    ] {
        assert!(addresses.contains(part), "{part}: {addresses}");
    }
    for part in ["192.0.2.99", "203.0.113.9"] {
        assert!(!addresses.contains(part), "{part}: {addresses}");
    }
    // It ends with the container's network: nobody moves it back.
    bundle.does(&["delete", "--force", "box"]);
    harness::wait_until("its end", || (names() == ["lo"]).then_some(()));
}

fn what_can_not_be_moved_stays() {
    let _network = network_with_a_cable();
    for (devices, because) in [
        (json!({"nowhere": {}}), "no such interface"),
        (json!({"out0": {"name": "lo"}}), "of that name already"),
        (
            json!({"out0": {"name": "a name"}}),
            "no name for an interface",
        ),
        (json!({"out0": {"name": "sixteen-letters-"}}), "no name"),
        (json!({"lo": {"name": "lo1"}}), "RTM_NEWLINK"),
        (json!({"out0": 1}), "invalid type"),
    ] {
        let why = bundle(devices, "true").is_refused();
        assert!(why.contains(because), "{because}: {why}");
        assert_eq!(names(), ["lo", "out0", "out1"], "{because}");
    }
    let mut bundle = bundle(json!({"out0": {}}), "true");
    bundle.without("network");
    assert!(bundle.is_refused().contains("needs a namespace network"));
    let path = format!("/proc/{}/task/{}/ns/net", std::process::id(), tid());
    let own = json!({"type": "network", "path": path});
    bundle.push("/linux/namespaces", own);
    assert!(bundle.is_refused().contains("that of the host"));
    assert_eq!(names(), ["lo", "out0", "out1"]);
}

/// A typing error is seen before; what the kernel refuses, when others have been
/// moved already.
fn all_are_moved_or_none() {
    let _network = network_with_a_cable();
    // They are moved in the order of their names: before "lo".
    ip("link set out0 name aa0");
    ip("link set out1 name aa1");
    ip("addr add 192.0.2.7/24 dev aa0");
    ip("addr add 2001:db8::7/64 dev aa0 nodad");
    ip("link set aa0 up");
    // Not its number, and not for how long it has been so.
    let shown = |name: &str| {
        let all = ip(&format!("-o addr show dev {name}"));
        let words = all.split_whitespace().filter(|it| it.contains("/"));
        // The kernel makes that of a link when there is somebody at it.
        let words = words.filter(|it| !it.starts_with("fe80"));
        let words: Vec<String> = words.map(str::to_owned).collect();
        let up = ip(&format!("-o link show {name}")).contains(",UP");
        (words, up)
    };
    let before = ["aa0", "aa1"].map(shown);
    assert!(before[0].1 && !before[1].1, "{before:?}");
    assert!(before[0].0.len() > 1, "{before:?}");
    for (devices, because) in [
        (
            json!({"aa0": {}, "zz9": {}}),
            "moving \"zz9\": there is no such",
        ),
        (
            json!({"aa0": {"name": "a"}, "aa1": {"name": "a"}}),
            "moving \"aa1\": there is an interface of that name already",
        ),
        (
            json!({"aa0": {"name": "a"}, "aa1": {}, "lo": {"name": "b"}}),
            "moving \"lo\": RTM_NEWLINK",
        ),
    ] {
        let why = bundle(devices, "true").is_refused();
        assert!(why.contains(because), "{because}: {why}");
        assert_eq!(names(), ["aa0", "aa1", "lo"], "{because}");
        assert_eq!(["aa0", "aa1"].map(shown), before, "{because}");
    }
}

fn tid() -> nix::unistd::Pid {
    nix::unistd::gettid()
}

fn a_template_makes_a_name_that_is_free() {
    let _network = network_with_a_cable();
    let devices = json!({"out0": {"name": "net%d"}, "out1": {"name": "net%d"}});
    let said = bundle(devices, "ls /sys/class/net").says();
    assert_eq!(said, "lo\nnet0\nnet1");
}

/// As an engine makes one, for the containers of a pod.
fn a_network_that_exists_gets_interfaces() {
    let _network = network_with_a_cable();
    let first = Bundle::new("sleep 60");
    first.create();
    let path = format!("/proc/{}/ns/net", first.pid());
    let mut bundle = bundle(json!({"out0": {}}), "ls /sys/class/net");
    bundle.without("network");
    let theirs = json!({"type": "network", "path": path});
    bundle.push("/linux/namespaces", theirs);
    assert_eq!(bundle.says(), "lo\nout0");
    assert_eq!(names(), ["lo", "out1"]);
}
