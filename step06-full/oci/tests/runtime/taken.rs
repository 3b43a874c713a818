//! Two containers for which the same cgroup is asked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    nobody_elses_cgroup_is_taken,
    who_was_there_first_takes_nobody_along,
    a_process_of_somebody_else_stays,
    of_two_at_once_one_gets_the_cgroup,
    without_its_mark_a_cgroup_is_still_its_own,
    who_locks_the_directories_stops_nothing,
    nobody_is_sent_into_a_stopped_cgroup,
];

/// It would be emptied by SIGKILL when the container is deleted.
fn nobody_elses_cgroup_is_taken() {
    needs::root();
    let first = Bundle::new("sleep 100");
    first.create();
    first.does(&["start", "box"]);
    let place = first.config["linux"]["cgroupsPath"].clone();
    let above = format!("{}/..", place.as_str().expect("text"));
    let mut second = Bundle::new("true");
    second.config["linux"]["cgroupsPath"] = place;
    let why = second.is_refused();
    assert!(why.contains("are in"), "{why}");
    second.does(&["delete", "--force", "box"]);
    assert_eq!(first.status(), "running");

    // What is empty is no one's: an engine may have made it.
    first.does(&["kill", "box", "KILL"]);
    first.becomes("stopped");
    assert_eq!(second.exits(), 0);

    second.config["linux"]["cgroupsPath"] = json!(above);
    assert!(second.is_refused().contains("leads upwards"));
}

/// The path of a container that has ended is free; but the container is still
/// to be deleted. In a PID namespace of its own nothing of it can be left; in one
/// that it shares, what is in its cgroup could be.
fn who_was_there_first_takes_nobody_along() {
    needs::root();
    for shares_pids in [false, true] {
        let mut first = Bundle::new("true");
        if shares_pids {
            first.without("pid");
        }
        first.create();
        first.does(&["start", "box"]);
        first.becomes("stopped");
        let mut second = Bundle::new("sleep 100");
        second.config["linux"]["cgroupsPath"] =
            first.config["linux"]["cgroupsPath"].clone();
        second.create();
        second.does(&["start", "box"]);
        first.does(&["kill", "--all", "box", "KILL"]);
        assert_eq!(second.status(), "running");
        // Nothing that is left is the first one's, also what is empty.
        let below = cgroup_of(&second).join("x");
        fs::create_dir(&below).expect("it is root's");
        first.does(&["delete", "box"]);
        assert_eq!(second.status(), "running");
        assert!(below.is_dir());
        assert_eq!(first.does(&["list", "--quiet"]), "");
        second.does(&["delete", "--force", "box"]);
        assert!(!below.exists());
    }
}

/// One of its directories.
pub(crate) fn cgroup_of(bundle: &Bundle) -> PathBuf {
    let place = bundle.config["linux"]["cgroupsPath"].as_str();
    let place = place.expect("text").trim_start_matches('/');
    let trees = ["pids", "."].map(|it| Path::new("/sys/fs/cgroup").join(it));
    let mut trees = trees.iter().map(|tree| tree.join(place));
    trees.find(|it| it.is_dir()).expect("it is one")
}

/// Who is no container of ours does not say that the cgroup is his.
fn a_process_of_somebody_else_stays() {
    needs::root();
    let first = Bundle::new("true");
    first.create();
    first.does(&["start", "box"]);
    first.becomes("stopped");
    let mut other = Command::new("sleep").arg("60").spawn().expect("it runs");
    let cgroup = cgroup_of(&first);
    fs::write(cgroup.join("cgroup.procs"), other.id().to_string())
        .expect("root may");
    first.does(&["--log", "log", "delete", "box"]);
    assert!(other.try_wait().expect("it is ours").is_none());
    let log = fs::read_to_string(first.path().join("log"));
    let log = log.expect("something is said");
    assert!(log.contains("processes of somebody else"), "{log}");
    other.kill().expect("it is ours");
    other.wait().expect("it is ours");
    // It stays, in whatever trees there are: this is who removes it.
    first.create();
    first.does(&["delete", "--force", "box"]);
    assert!(!cgroup.exists());
}

/// Both would find it empty.
fn of_two_at_once_one_gets_the_cgroup() {
    needs::root();
    let first = Bundle::new("sleep 100");
    let mut second = Bundle::new("sleep 100");
    second.config["linux"]["cgroupsPath"] =
        first.config["linux"]["cgroupsPath"].clone();
    for bundle in [&first, &second] {
        bundle.write();
    }
    for round in 0..20 {
        let create =
            |bundle: &Bundle| bundle.tool(&["create", "box"]).status.success();
        let made = std::thread::scope(|scope| {
            let other = scope.spawn(|| create(&second));
            [create(&first), other.join().expect("it ends")]
        });
        assert_eq!(
            made.iter().filter(|it| **it).count(),
            1,
            "{round}: {made:?}"
        );
        let one = if made[0] { &first } else { &second };
        assert_eq!(one.status(), "created", "{round}");
        one.does(&["delete", "--force", "box"]);
    }
}

/// Its directories, in whatever trees there are.
fn cgroups_of(bundle: &Bundle) -> Vec<PathBuf> {
    let place = bundle.config["linux"]["cgroupsPath"].as_str();
    let place = place.expect("text").trim_start_matches('/');
    let top = Path::new("/sys/fs/cgroup");
    let mut trees = vec![top.to_owned()];
    let entries = fs::read_dir(top).expect("it is mounted").flatten();
    trees.extend(entries.map(|entry| entry.path()));
    let all = trees.iter().map(|tree| tree.join(place));
    all.filter(|it| it.is_dir()).collect()
}

/// All its processes can be killed, and its cgroups removed.
fn ends_with_its_cgroups(bundle: &Bundle, cgroups: &[PathBuf]) {
    bundle.does(&["kill", "--all", "box", "KILL"]);
    bundle.becomes("stopped");
    bundle.does(&["delete", "box"]);
    for cgroup in cgroups {
        assert!(!cgroup.exists(), "{cgroup:?}");
    }
}

/// Who may do everything can take it away, from inside, too.
fn without_its_mark_a_cgroup_is_still_its_own() {
    needs::root();
    let python = needs::tool("python3");
    let bundle = Bundle::new("sleep 100 & sleep 100");
    bundle.create();
    bundle.does(&["start", "box"]);
    let cgroups = cgroups_of(&bundle);
    let mut some = false;
    for cgroup in &cgroups {
        let script = "import os, sys
os.removexattr(sys.argv[1], 'trusted.step06-oci')";
        // Only one of them has it.
        let mut remove = Command::new(&python);
        let removed = remove.args(["-c", script]).arg(cgroup).output();
        some |= removed.expect("it runs").status.success();
    }
    assert!(some);
    let own = |pid: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"));
        text.expect("it runs")
    };
    let first = own(&bundle.pid().to_string());
    let said = bundle.does(&["exec", "box", "cat", "/proc/self/cgroup"]);
    assert_eq!(said, first.trim_end());
    ends_with_its_cgroups(&bundle, &cgroups);
}

/// Whoever can open a directory can lock it.
fn who_locks_the_directories_stops_nothing() {
    needs::root();
    let bundle = Bundle::new("sleep 100");
    bundle.create();
    bundle.does(&["start", "box"]);
    let cgroups = cgroups_of(&bundle);
    let lock = |path: &PathBuf| {
        let file = fs::File::open(path).expect("all may");
        file.lock().expect("it is free");
        file
    };
    let held: Vec<_> = cgroups.iter().map(lock).collect();
    ends_with_its_cgroups(&bundle, &cgroups);
    drop(held);
}

/// It would wait there for ever, and we for it.
fn nobody_is_sent_into_a_stopped_cgroup() {
    needs::root();
    let bundle = Bundle::new("sleep 100");
    bundle.create();
    bundle.does(&["start", "box"]);
    let own = cgroups_of(&bundle);
    let has_freezer = |it: &&PathBuf| {
        ["freezer.state", "cgroup.freeze"]
            .iter()
            .any(|file| it.join(file).exists())
    };
    let Some(own) = own.iter().find(has_freezer) else {
        harness::skip("needs a freezer");
    };
    let below = own.join("x");
    fs::create_dir(&below).expect("it is root's");
    let (file, option) = match below.join("cgroup.freeze").exists() {
        true => ("cgroup.freeze", "x"),
        false => ("freezer.state", "freezer:x"),
    };
    let words = match file {
        "cgroup.freeze" => ["1", "0"],
        _ => ["FROZEN", "THAWED"],
    };
    let exec = ["exec", "--cgroup", option, "box", "true"];
    fs::write(below.join(file), words[0]).expect("it is root's");
    let why = bundle.fails(&exec);
    assert!(why.contains("wait there for ever"), "{why}");
    fs::write(below.join(file), words[1]).expect("it is root's");
    bundle.does(&exec);
}
