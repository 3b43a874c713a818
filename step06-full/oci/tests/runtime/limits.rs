//! Cgroups of a container that is there: `update`, `events`, and where an `exec`
//! begins.

use std::{fs, path::PathBuf};

use common::host::cgroups::{Layout, Version};
use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    limits_are_changed_by_options,
    what_it_uses_is_told_as_often_as_asked_for,
    each_limit_has_an_option,
    an_exec_may_begin_in_a_cgroup_below,
    an_exec_finds_room_where_the_container_has_cgroups_of_its_own,
];

/// A container that runs `script` and has limits.
fn running(script: &str) -> Bundle {
    needs::root();
    let mut bundle = Bundle::new(script);
    bundle.config["linux"]["resources"] = json!({"pids": {"limit": 50},
        "memory": {"limit": 64 << 20}, "cpu": {"quota": 50_000}});
    bundle
}

/// The directory of the container's cgroup where it has this controller.
fn cgroup(bundle: &Bundle, controller: &str) -> PathBuf {
    layout(bundle).find(controller).expect("it is there").own
}

fn layout(bundle: &Bundle) -> Layout {
    Layout::of(&bundle.pid().to_string()).expect("it runs")
}

fn is_v2(bundle: &Bundle) -> bool {
    let tree = layout(bundle).find("pids").expect("it is there");
    tree.version == Version::V2
}

fn limits_are_changed_by_options() {
    needs::root();
    let bundle = Bundle::new("sleep 60");
    bundle.create();
    bundle.does(&["start", "box"]);
    let forks = ["exec", "box", "sh", "-c", "(true; true) && echo forked"];
    assert_eq!(bundle.does(&forks), "forked");
    // The two that are there, and no third.
    let update = ["update", "--pids-limit", "2", "--memory", "64m"];
    bundle.does(&[&update, &["--memory-swap", "-1", "box"][..]].concat());
    assert!(!bundle.tool(&forks).status.success());
    bundle.does(&["update", "--pids-limit", "-1", "box"]);
    assert_eq!(bundle.does(&forks), "forked");
    let output = bundle.tool(&["update", "--memory", "1x", "box"]);
    assert!(!output.status.success());
}

fn what_it_uses_is_told_as_often_as_asked_for() {
    needs::root();
    let bundle = Bundle::new("sleep 1");
    bundle.create();
    bundle.does(&["start", "box"]);
    // Until its end, which is an error.
    let events = bundle.tool(&["events", "--interval", "100ms", "box"]);
    let lines = events.stdout.iter().filter(|it| **it == b'\n').count();
    assert!((2..20).contains(&lines), "{lines}");
}

fn each_limit_has_an_option() {
    let bundle = running("sleep 60");
    bundle.create();
    let is_v2 = is_v2(&bundle);
    let memory = if is_v2 { "max" } else { "limit_in_bytes" };
    let quota = if is_v2 { "cpu.max" } else { "cpu.cfs_quota_us" };
    let unlimited = if is_v2 { "max 100000" } else { "-1" };
    for (option, value, controller, file, expected) in [
        (
            "--memory",
            "32M",
            "memory",
            format!("memory.{memory}"),
            "33554432",
        ),
        ("--pids-limit", "20", "pids", "pids.max".to_owned(), "20"),
        ("--pids-limit", "-1", "pids", "pids.max".to_owned(), "max"),
        ("--pids-limit", "0", "pids", "pids.max".to_owned(), "1"),
        ("--cpu-quota", "-1", "cpu", quota.to_owned(), unlimited),
    ] {
        bundle.does(&["update", option, value, "box"]);
        let path = cgroup(&bundle, controller).join(file);
        let is = fs::read_to_string(path).expect("it is there");
        assert_eq!(is.trim_end(), expected, "{option} {value}");
    }
    for (option, value) in [("--memory", "1x"), ("--blkio-weight", "2000")] {
        let output = bundle.tool(&["update", option, value, "box"]);
        assert!(!output.status.success(), "{option} {value}");
    }
}

fn an_exec_may_begin_in_a_cgroup_below() {
    let bundle = running("sleep 60");
    bundle.create();
    fs::create_dir(cgroup(&bundle, "pids").join("sub")).expect("it is ours");
    let exec = |place: &str| {
        let list = ["cat", "/proc/self/cgroup"];
        let exec = ["exec", "--cgroup", place, "box"];
        bundle.tool(&[&exec[..], &list[..]].concat())
    };
    let begins = |place: &str| {
        let output = exec(place);
        assert!(output.status.success(), "{place}: {output:?}");
        let text = crate::bundle::text(&output.stdout);
        text.lines().filter(|line| line.ends_with("/sub")).count()
    };
    assert_eq!(begins("pids:sub"), 1);
    assert_eq!(begins("pids:/sub"), 1);
    assert_eq!(begins("/"), 0);
    for (place, because) in [
        ("..", "leads upwards"),
        ("pids:sub/../..", "leads upwards"),
        ("pids:missing", "ENOENT"),
        ("nothing:sub", "no \"nothing\" controller"),
    ] {
        let output = exec(place);
        let why = crate::bundle::text(&output.stderr);
        assert!(!output.status.success(), "{place}");
        assert!(why.contains(because), "{why}");
    }
}

fn an_exec_finds_room_where_the_container_has_cgroups_of_its_own() {
    // What a systemd does in a container.
    let mut bundle = running(
        "cd /sys/fs/cgroup && mkdir init && echo 1 >init/cgroup.procs &&
        echo +pids >cgroup.subtree_control && sleep 60",
    );
    let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup",
        "source": "cgroup"});
    bundle.push("/mounts", mount);
    bundle.push("/linux/namespaces", json!({"type": "cgroup"}));
    bundle.create();
    // Cgroups of version 2 are there for sure.
    needs::virtual_machine(is_v2(&bundle));
    let file = cgroup(&bundle, "pids").join("cgroup.subtree_control");
    bundle.does(&["start", "box"]);
    harness::wait_until("it has handed on a controller", || {
        let text = fs::read_to_string(&file).expect("it is there");
        text.contains("pids").then_some(())
    });
    let said = bundle.does(&["exec", "box", "cat", "/proc/self/cgroup"]);
    assert_eq!(said.trim_end(), "0::/init");
}
