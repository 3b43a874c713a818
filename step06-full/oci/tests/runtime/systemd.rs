//! Cgroups that systemd makes, on a machine that it has booted.

use std::process::Command;

use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::{Bundle, text};

pub(crate) const TESTS: &[Test] = claims![
    a_scope_holds_the_container_and_ends_with_it,
    a_scope_of_somebody_else_is_not_touched,
];

/// A bundle whose unit has a name of its own, and that name.
fn bundle() -> (Bundle, String) {
    needs::root();
    needs::systemd();
    let mut bundle = Bundle::new("sleep 300");
    let name = bundle.path().file_name().expect("it has one");
    let name = name.to_string_lossy().replace('.', "");
    let path = format!("system.slice:step06test:{name}");
    bundle.config["linux"]["cgroupsPath"] = json!(path);
    bundle.config["linux"]["resources"] =
        json!({"memory": {"limit": 64 << 20}, "cpu": {"shares": 512}});
    (bundle, format!("step06test-{name}.scope"))
}

/// A property of the unit.
fn property(unit: &str, name: &str) -> String {
    let show = Command::new("systemctl")
        .args(["show", "--value", "--property", name, unit])
        .output()
        .expect("there is a systemctl");
    text(&show.stdout)
}

fn ends(unit: &str) {
    harness::wait_until("the scope has ended", || {
        (property(unit, "ActiveState") == "inactive").then_some(())
    });
}

fn a_scope_holds_the_container_and_ends_with_it() {
    let (bundle, unit) = bundle();
    let create = ["--systemd-cgroup", "create"];
    bundle.create_by(&create);
    assert_eq!(property(&unit, "ActiveState"), "active");
    assert_eq!(property(&unit, "Delegate"), "yes");
    assert_eq!(property(&unit, "MemoryMax"), (64 << 20).to_string());
    assert_eq!(property(&unit, "CPUWeight"), "20");
    let path = format!("/proc/{}/cgroup", bundle.pid());
    let cgroup = std::fs::read_to_string(path).expect("it runs");
    assert!(cgroup.trim_end().ends_with(&format!("{unit}/container")));
    bundle.does(&["update", "--memory", "33554432", "box"]);
    assert_eq!(property(&unit, "MemoryMax"), (32 << 20).to_string());
    bundle.does(&["delete", "--force", "box"]);
    ends(&unit);
    // By itself, with its process; and the name is free again.
    bundle.create_by(&create);
    bundle.does(&["kill", "box", "KILL"]);
    bundle.becomes("stopped");
    ends(&unit);
    bundle.does(&["delete", "box"]);
}

fn a_scope_of_somebody_else_is_not_touched() {
    let (bundle, unit) = bundle();
    let mut other = Command::new("systemd-run")
        .args(["--quiet", "--scope", "--unit", &unit, "sleep", "300"])
        .spawn()
        .expect("there is a systemd-run");
    harness::wait_until("it runs", || {
        (property(&unit, "ActiveState") == "active").then_some(())
    });
    bundle.write();
    let why = bundle.fails(&["--systemd-cgroup", "create", "box"]);
    assert!(why.contains("UnitExists"), "{why}");
    bundle.does(&["delete", "--force", "box"]);
    assert_eq!(property(&unit, "ActiveState"), "active");
    other.kill().expect("it is ours");
    other.wait().expect("it is ours");
}
