//! Cgroups that systemd makes, on a machine that it has booted.

use std::{
    os::unix::net::UnixListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use harness::{Test, claims, needs, random};
use serde_json::json;

use crate::bundle::{Bundle, program, text};

pub(crate) const TESTS: &[Test] = claims![
    a_scope_holds_the_container_and_ends_with_it,
    a_scope_of_somebody_else_is_not_touched,
    where_processes_have_other_numbers_no_scope_is_asked_for,
    without_a_bus_nothing_is_left,
    a_bus_that_never_answers_is_given_up,
    what_a_killed_runtime_has_asked_for_can_be_removed,
    systemd_may_read_its_files_again,
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

/// `create` by a command that `before` leads to, and why that fails.
fn is_refused(bundle: &Bundle, before: &[&str]) -> String {
    bundle.write();
    let output = Command::new(before[0])
        .args(&before[1..])
        .arg(program())
        .args(["--root", "state", "--systemd-cgroup", "create", "box"])
        .current_dir(bundle.path())
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(bundle.does(&["list", "--quiet"]), "");
    text(&output.stderr)
}

fn where_processes_have_other_numbers_no_scope_is_asked_for() {
    let (bundle, unit) = bundle();
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc"];
    let why = is_refused(&bundle, &unshare);
    assert!(why.contains("another PID namespace"), "{why}");
    assert_eq!(property(&unit, "LoadState"), "not-found");
}

fn without_a_bus_nothing_is_left() {
    let (bundle, unit) = bundle();
    let elsewhere = "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent";
    let why = is_refused(&bundle, &["env", elsewhere]);
    assert!(why.contains("connecting to D-Bus"), "{why}");
    assert_eq!(property(&unit, "LoadState"), "not-found");
}

fn a_bus_that_never_answers_is_given_up() {
    let (bundle, _) = bundle();
    let path = bundle.path().join("mute");
    let _mute = UnixListener::bind(&path).expect("it is ours");
    let address =
        format!("DBUS_SYSTEM_BUS_ADDRESS=unix:path={}", path.display());
    let start = Instant::now();
    let why = is_refused(&bundle, &["env", &address]);
    assert!(why.contains("timed out"), "{why}");
    assert!(start.elapsed() >= Duration::from_secs(20), "too early");
}

fn what_a_killed_runtime_has_asked_for_can_be_removed() {
    let (bundle, unit) = bundle();
    let start = Instant::now();
    bundle.create_by(&["--systemd-cgroup", "create"]);
    let whole = start.elapsed();
    bundle.does(&["delete", "--force", "box"]);
    let mut random = random();
    let most = u64::try_from(whole.as_micros()).expect("it is short");
    for _ in 0..20 {
        let after = Duration::from_micros(random.below(most));
        bundle.is_cleaned_up(&["--systemd-cgroup", "create", "box"], after);
        ends(&unit);
    }
}

/// It writes its own limits then: those of the container are in a cgroup below.
fn systemd_may_read_its_files_again() {
    let (mut bundle, _) = bundle();
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 50});
    bundle.create_by(&["--systemd-cgroup", "create"]);
    let path = format!("/proc/{}/cgroup", bundle.pid());
    let cgroup = std::fs::read_to_string(path).expect("it runs");
    let (_, cgroup) = cgroup.trim_end().rsplit_once(':').expect("a path");
    let reload = Command::new("systemctl").arg("daemon-reload").status();
    assert!(reload.expect("there is a systemctl").success());
    for (file, limit) in [("pids.max", "50"), ("memory.max", "67108864")] {
        let path = format!("/sys/fs/cgroup{cgroup}/{file}");
        let is = std::fs::read_to_string(path).expect("it is there");
        assert_eq!(is.trim_end(), limit);
    }
}
