//! A container whose number 1 has lost its first thread: a zombie by its letter,
//! a process that runs by all that it does.
#![allow(unsafe_code)]

use std::{fs, thread::sleep, time::Duration};

use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] =
    claims![it_runs_until_its_last_thread_has_ended];

/// Has this program be that number 1.
pub(crate) const WORD: &str = "outlive-the-first-thread";

/// Ends this thread, and has another one go on until it gets a SIGTERM.
pub(crate) fn outlive_the_first() -> ! {
    std::thread::spawn(|| {
        // Number 1 gets no signal for which it has no function.
        loop {
            sleep(Duration::from_secs(1));
        }
    });
    // SAFETY: it ends this thread alone, and nothing of it is used by others.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("it has ended")
}

fn it_runs_until_its_last_thread_has_ended() {
    needs::root();
    let mut bundle = Bundle::new("");
    let program = std::env::current_exe().expect("it is there");
    fs::copy(program, bundle.root().join("two")).expect("it is ours");
    bundle.config["process"]["args"] = json!(["/two", WORD]);
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
