//! Time namespaces: clocks that go ahead, or behind.

use std::fs;

use harness::{Test, claims, needs};
use serde_json::json;

use crate::{bundle::Bundle, itself};

pub(crate) const TESTS: &[Test] = claims![
    its_clocks_have_the_offsets_of_the_file,
    a_time_namespace_that_exists_is_entered,
    offsets_that_can_not_be_set_are_refused,
];

const DAY: i64 = 86400;

/// This kernel may be built without them.
fn needs_time_namespaces() {
    needs::root();
    if !fs::exists("/proc/self/ns/time").is_ok_and(|it| it) {
        harness::skip("this kernel has no time namespaces");
    }
}

fn shifted(word: &str) -> Bundle {
    let mut bundle = itself::bundle(word);
    bundle.push("/linux/namespaces", json!({"type": "time"}));
    bundle.config["linux"]["timeOffsets"] = json!({
        "monotonic": {"secs": 10 * DAY},
        "boottime": {"secs": 20 * DAY, "nanosecs": 999_999_999},
    });
    bundle
}

/// How far the clocks that are told are ahead of ours, in days.
fn days_ahead(told: &str) -> Vec<i64> {
    let told = told.split_whitespace().map(|it| it.parse::<i64>());
    let differences = told.zip(itself::clocks());
    // A test takes less than half a day.
    differences
        .map(|(there, here)| there.expect("a number") - here)
        .map(|seconds| (seconds + DAY / 2).div_euclid(DAY))
        .collect()
}

fn its_clocks_have_the_offsets_of_the_file() {
    needs_time_namespaces();
    let bundle = shifted(itself::CLOCKS);
    assert_eq!(days_ahead(&bundle.says()), [10, 20]);
    // Its root is not the machine's, which alone sets clocks.
    let mut bundle = shifted(itself::CLOCKS);
    let map = json!([{"containerID": 0, "hostID": 500_000, "size": 1000}]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    bundle.push("/linux/namespaces", json!({"type": "user"}));
    assert_eq!(days_ahead(&bundle.says()), [10, 20]);
    // Without a namespace, or without offsets, they are those of the machine.
    let mut bundle = itself::bundle(itself::CLOCKS);
    assert_eq!(days_ahead(&bundle.says()), [0, 0]);
    bundle.push("/linux/namespaces", json!({"type": "time"}));
    assert_eq!(days_ahead(&bundle.says()), [0, 0]);
    // A program that comes later finds the same.
    let mut bundle = shifted(itself::CLOCKS);
    bundle.config["process"]["args"] = json!(["sleep", "60"]);
    bundle.create();
    bundle.does(&["start", "box"]);
    let exec = ["exec", "box", "/itself", itself::CLOCKS];
    assert_eq!(days_ahead(&bundle.does(&exec)), [10, 20]);
    assert_eq!(bundle.status(), "running");
}

fn a_time_namespace_that_exists_is_entered() {
    needs_time_namespaces();
    let mut first = shifted(itself::CLOCKS);
    first.config["process"]["args"] = json!(["sleep", "60"]);
    first.create();
    let path = format!("/proc/{}/ns/time", first.pid());
    let mut bundle = itself::bundle(itself::CLOCKS);
    let namespace = json!({"type": "time", "path": path});
    bundle.push("/linux/namespaces", namespace);
    assert_eq!(days_ahead(&bundle.says()), [10, 20]);
    // What is fixed is not set once more.
    let offsets = json!({"boottime": {"secs": 1}});
    bundle.config["linux"]["timeOffsets"] = offsets;
    assert!(bundle.is_refused().contains("a new namespace time"));
}

fn offsets_that_can_not_be_set_are_refused() {
    needs_time_namespaces();
    for (clock, offset, because) in [
        ("realtime", json!({"secs": 1}), "no clock"),
        ("boottime", json!({"nanosecs": 1_000_000_000}), "a second"),
        // Before the beginning.
        ("boottime", json!({"secs": -4_000_000_000_i64}), "ERANGE"),
        ("monotonic", json!({"secs": i64::MAX}), "ERANGE"),
        ("monotonic", json!({"secs": 1e30}), "invalid type"),
    ] {
        let mut bundle = shifted(itself::CLOCKS);
        bundle.config["linux"]["timeOffsets"] = json!({ clock: offset });
        let why = bundle.is_refused();
        assert!(why.contains(because), "{clock}: {why}");
    }
    let mut bundle = Bundle::new("true");
    let offsets = json!({"boottime": {"secs": 1}});
    bundle.config["linux"]["timeOffsets"] = offsets;
    assert!(bundle.is_refused().contains("a new namespace time"));
}
