//! A runtime that is killed at any moment leaves what `delete --force` removes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use harness::{Test, claims, needs, random};

use crate::bundle::{Bundle, program};

pub(crate) const TESTS: &[Test] = claims![
    what_a_killed_runtime_leaves_can_be_removed,
    a_process_that_is_killed_is_told_about,
    who_is_paused_can_be_ended,
    what_a_killed_pause_leaves_can_be_ended,
    verbs_at_the_same_time_are_in_order,
];

/// How often.
const TRIES: u64 = 40;

fn what_a_killed_runtime_leaves_can_be_removed() {
    needs::root();
    let bundle = Bundle::new("sleep 300");
    bundle.create();
    bundle.does(&["delete", "--force", "box"]);
    let mut random = random();
    for _ in 0..TRIES {
        let verb = ["create", "run"][random.index(2)];
        let after = Duration::from_micros(random.below(40_000));
        bundle.is_cleaned_up(&[verb, "box"], after);
        assert_eq!(cgroups(bundle.path()), Vec::<PathBuf>::new());
    }
    let root = bundle.root().display().to_string();
    harness::wait_until("nobody is left", || {
        (!somebody_is_in(&root)).then_some(())
    });
}

/// The cgroups of this bundle's container, in whatever tree.
fn cgroups(bundle: &Path) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let trees = fs::read_dir(top).into_iter().flatten().flatten();
    let trees = trees.map(|tree| tree.path()).chain([top.to_owned()]);
    let name = bundle.file_name().expect("it has a name");
    let name = format!("step06-oci-test{}", name.display());
    let places = trees.map(|it| it.join(&name));
    places.filter(|it| it.exists()).collect()
}

/// Whether a process has its root or a mount there.
fn somebody_is_in(root: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("it is there");
    let mut commands = processes.flatten().filter_map(|entry| {
        fs::read_to_string(entry.path().join("mountinfo")).ok()
    });
    commands.any(|mounts| {
        mounts.lines().any(|line| {
            line.split(' ')
                .nth(3)
                .is_some_and(|place| place.ends_with(root))
        })
    })
}

fn a_process_that_is_killed_is_told_about() {
    needs::root();
    let bundle = Bundle::new("sleep 300");
    bundle.create();
    bundle.does(&["kill", "box", "KILL"]);
    bundle.becomes("stopped");
    bundle.fails(&["start", "box"]);
    bundle.does(&["delete", "box"]);
}

fn who_is_paused_can_be_ended() {
    needs::root();
    let bundle = Bundle::new("sleep 300");
    bundle.create();
    bundle.does(&["pause", "box"]);
    assert_eq!(bundle.status(), "paused");
    // It would not hear that it may begin.
    let why = bundle.fails(&["start", "box"]);
    assert!(why.contains("paused"), "{why}");
    bundle.does(&["resume", "box"]);
    bundle.does(&["start", "box"]);
    bundle.does(&["pause", "box"]);
    bundle.does(&["kill", "box", "KILL"]);
    bundle.becomes("stopped");
    bundle.does(&["delete", "box"]);
}

/// Some of its processes have stopped by then, and some have not.
fn what_a_killed_pause_leaves_can_be_ended() {
    needs::root();
    let script = "for i in 1 2 3 4; do sh -c 'while :; do true & done' & done";
    let mut random = random();
    for _ in 0..TRIES / 4 {
        let bundle = Bundle::new(&format!("{script}; wait"));
        bundle.create();
        bundle.does(&["start", "box"]);
        let mut pause = Command::new(program())
            .args(["--root", "state", "pause", "box"])
            .current_dir(bundle.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        thread::sleep(Duration::from_micros(random.below(20_000)));
        match random.index(3) {
            // It is still at it, perhaps.
            0 => {}
            _ => pause.kill().expect("it is ours"),
        }
        match random.index(3) {
            0 => drop(bundle.does(&["kill", "box", "KILL"])),
            1 => drop(bundle.does(&["kill", "--all", "box", "KILL"])),
            _ => drop(bundle.does(&["delete", "--force", "box"])),
        }
        pause.wait().expect("it is ours");
        bundle.does(&["delete", "--force", "box"]);
        assert_eq!(bundle.does(&["list", "--quiet"]), "");
    }
}

fn verbs_at_the_same_time_are_in_order() {
    needs::root();
    let bundle = Bundle::new("sleep 300");
    bundle.create();
    let start = || {
        Command::new(program())
            .args(["--root", "state", "start", "box"])
            .current_dir(bundle.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts")
    };
    let mut both = [start(), start()];
    let codes = both.each_mut().map(|it| it.wait().expect("ours").code());
    let started = codes.iter().filter(|code| **code == Some(0)).count();
    assert_eq!(started, 1, "{codes:?}");
    assert_eq!(bundle.status(), "running");
}
