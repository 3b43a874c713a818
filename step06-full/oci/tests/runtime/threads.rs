//! A container whose number 1 has lost its first thread: a zombie by its letter,
//! a process that runs by all that it does.

use std::fs;

use harness::{Test, claims, needs};

use crate::itself;

pub(crate) const TESTS: &[Test] =
    claims![it_runs_until_its_last_thread_has_ended];

fn it_runs_until_its_last_thread_has_ended() {
    needs::root();
    let bundle = itself::bundle(itself::OUTLIVE);
    bundle.create();
    bundle.does(&["start", "box"]);
    let pid = bundle.pid();
    harness::wait_until("the end of its first thread", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.expect("it is there").contains(") Z ").then_some(())
    });
    assert_eq!(bundle.status(), "running");
    bundle.fails(&["delete", "box"]);
    // It can't be entered, and its namespaces are not taken for the host's.
    let outside = bundle.path().join("outside");
    let touch = ["exec", "box", "touch", outside.to_str().expect("text")];
    let why = bundle.fails(&touch);
    assert!(why.contains("opening the container's namespaces"), "{why}");
    assert!(!outside.exists());
    bundle.does(&["pause", "box"]);
    assert_eq!(bundle.status(), "paused");
    bundle.does(&["resume", "box"]);
    bundle.does(&["kill", "box", "KILL"]);
    bundle.becomes("stopped");
    bundle.fails(&["exec", "box", "true"]);
    bundle.does(&["delete", "box"]);
}
