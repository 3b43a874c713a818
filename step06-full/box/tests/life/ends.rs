//! How a container's life ends, and what is known of it then.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Test, claims, skip};

use crate::world::{World, exists, wait_until};

pub(crate) const TESTS: &[Test] = claims![
    a_container_goes_on_without_whoever_has_started_it,
    an_exit_code_is_kept,
    a_command_that_cannot_be_started_is_told_at_once,
    an_exit_code_is_told_of_what_is_removed_at_its_end,
    stop_asks_first_and_forces_then,
    a_signal_reaches_the_command,
    what_is_removed_at_its_end_can_be_restarted,
    what_nobody_wants_to_keep_is_gone_at_its_end,
    a_container_that_could_not_start_was_never_there,
    a_stopped_container_gets_no_time_and_can_be_killed,
];

fn a_container_goes_on_without_whoever_has_started_it() {
    let world = World::new();
    world.start("web", "echo here; exec sleep 100");
    world.wait_for("web", "here");
    // All of `box run` has ended by now; the container has not.
    let (init, monitor) = (
        world.number("web", "Pid"),
        world.number("web", "MonitorPid"),
    );
    assert!(exists(init) && exists(monitor));
    assert_eq!(world.says(["rm", "-f", "web"]), "web");
    assert!(!exists(init) && !exists(monitor));
    world.assert_no_trace();
}

fn an_exit_code_is_kept() {
    let world = World::new();
    world.start("three", "exit 3");
    assert_eq!(world.says(["wait", "three"]), "3");
    assert!(world.says(["ps", "-a"]).contains("Exited (3)"));
    assert_eq!(world.says(["ps", "-q"]), "");
    world.assert_no_trace();
}

/// As with Docker: who has started it hears it, and so does who reads its log.
fn a_command_that_cannot_be_started_is_told_at_once() {
    let world = World::new();
    for (command, code, errno) in
        [("no-such", 127, "ENOENT"), ("/etc", 126, "EACCES")]
    {
        for options in ["-d", "-dt"] {
            let run = ["run", options, "--name", "never", "-", command];
            let (seen, text) = world.fails(run);
            assert_eq!(seen, code, "{text}");
            assert!(text.contains(errno) && text.contains(command), "{text}");
            assert_eq!(world.says(["wait", "never"]), code.to_string());
            let (seen, text) = world.fails(["start", "never"]);
            assert!(seen == 1 && text.contains(errno), "{text}");
            world.says(["rm", "never"]);
        }
    }
    world.assert_no_trace();
}

/// Also if there is nothing else left of it.
fn an_exit_code_is_told_of_what_is_removed_at_its_end() {
    let world = World::new();
    for code in ["0", "7"] {
        let script = format!("sleep 0.5; exit {code}");
        let run = ["run", "-d", "--rm", "--name", "gone", "-", "sh", "-c"];
        world.says([&run[..], &[&script]].concat());
        assert_eq!(world.says(["wait", "gone"]), code);
        wait_until("it is gone", || world.state("gone").is_none());
    }
}

fn stop_asks_first_and_forces_then() {
    let world = World::new();
    let ready = "echo ready; while true; do sleep 0.05; done";
    world.start("polite", &format!("trap 'exit 5' TERM; {ready}"));
    world.start("deaf", &format!("trap '' TERM; {ready}"));
    for name in ["polite", "deaf"] {
        world.wait_for(name, "ready");
    }
    // It looks up when a sleep is over, on a busy machine late.
    world.says(["stop", "-t", "60", "polite"]);
    assert_eq!(world.says(["wait", "polite"]), "5");
    let start = Instant::now();
    world.says(["stop", "-t", "1", "deaf"]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(world.says(["wait", "deaf"]), "137");
    // To stop what has ended is nothing, as with Docker.
    world.says(["stop", "deaf"]);
}

fn a_signal_reaches_the_command() {
    let world = World::new();
    let script = "trap 'echo got it' USR1; echo ready; \
                  while true; do sleep 0.05; done";
    world.start("web", script);
    world.wait_for("web", "ready");
    world.says(["kill", "-s", "USR1", "web"]);
    world.wait_for("web", "got it");
    assert_eq!(world.state("web").as_deref(), Some("running"));
    world.says(["kill", "web"]);
    assert_eq!(world.says(["wait", "web"]), "137");
}

/// Its end is none, that time.
fn what_is_removed_at_its_end_can_be_restarted() {
    let world = World::new();
    let run = ["run", "-d", "--rm", "--name", "once", "-", "sleep", "100"];
    world.says(run);
    let init = world.number("once", "Pid");
    world.says(["restart", "-t", "0", "once"]);
    assert_ne!(world.number("once", "Pid"), init);
    world.says(["stop", "-t", "0", "once"]);
    wait_until("it is gone", || world.state("once").is_none());
    world.assert_no_trace();
}

fn what_nobody_wants_to_keep_is_gone_at_its_end() {
    let world = World::new();
    world.says(["run", "-d", "--rm", "--name", "gone", "-", "true"]);
    wait_until("it is gone", || world.state("gone").is_none());
    assert_eq!(world.says(["run", "-", "echo", "hi"]), "hi");
    world.says(["run", "--name", "kept", "-", "true"]);
    assert_eq!(world.state("kept").as_deref(), Some("exited"));
    assert_eq!(world.says(["ps", "-aq"]).lines().count(), 1);
    world.assert_no_trace();
}

fn a_container_that_could_not_start_was_never_there() {
    let world = World::new();
    let volume = ["-v", "/no/such:/x"];
    let arguments = [&["run", "-d", "--name", "bad"][..], &volume, &["-"]];
    let (code, text) = world.fails(arguments.concat());
    assert_eq!(code, 125, "{text}");
    assert!(text.contains("/no/such"), "{text}");
    assert_eq!(world.says(["ps", "-aq"]), "");
    world.assert_no_trace();
}

fn a_stopped_container_gets_no_time_and_can_be_killed() {
    let world = World::new();
    world.start("web", "while true; do echo tick; sleep 0.02; done");
    world.wait_for("web", "tick");
    let paused = world.run(["pause", "web"]);
    if !paused.status.success() {
        let text = String::from_utf8_lossy(&paused.stderr).into_owned();
        assert!(text.contains("pausing needs"), "{text}");
        skip("needs a cgroup of version 2 that is this user's");
    }
    assert_eq!(world.state("web").as_deref(), Some("paused"));
    let count = || world.says(["logs", "web"]).lines().count();
    // What is in the pipe still comes, in its time.
    wait_until("no more to come", || {
        let before = count();
        sleep(Duration::from_millis(500));
        count() == before
    });
    let before = count();
    world.says(["unpause", "web"]);
    wait_until("it goes on", || count() > before);
    world.says(["pause", "web"]);
    world.says(["rm", "-f", "web"]);
    world.assert_no_trace();
}
