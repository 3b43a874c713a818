//! How a container's life ends, and what is known of it then.

use std::{
    fs,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use common::process::Stat;
use harness::{Test, claims, random, skip};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid},
};
use serde_json::{Value, json};

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
    a_reboot_leaves_the_truth,
    a_stopped_container_gets_no_time_and_can_be_killed,
    a_hundred_times_somebody_is_killed_and_nothing_is_left,
    a_run_that_is_killed_on_its_way_leaves_nothing,
];

fn end(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

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

/// The machine is switched off: all processes are gone, and so is what is in
/// memory, but for a place that somebody has put on a disk.
fn a_reboot_leaves_the_truth() {
    for run_is_in_memory in [true, false] {
        reboot(run_is_in_memory);
    }
}

fn reboot(run_is_in_memory: bool) {
    let world = World::new();
    world.start("done", "exit 4");
    world.says(["wait", "done"]);
    world.start("up", "echo x >> /kept; echo ready; exec sleep 100");
    world.wait_for("up", "ready");
    let id = world.inspect("up")["Id"].as_str().expect("it").to_owned();
    let state = world.store.path().join("run").join(&id).join("state.json");
    let state_before = fs::read_to_string(state).expect("it is there");
    let monitor = world.number("up", "MonitorPid");
    end(monitor);
    wait_until("no process", || world.processes().is_empty());
    assert_eq!(world.state("up").as_deref(), Some("dead"));
    let run = world.store.path().join("run");
    match run_is_in_memory {
        true => fs::remove_dir_all(run).expect("it is there"),
        // Its number 1 is another process by now, which won't end.
        false => {
            let state = run.join(id).join("state.json");
            let text = fs::read_to_string(&state).unwrap_or(state_before);
            let mut known: Value = serde_json::from_str(&text).expect("JSON");
            let (pid, start_time) = numbers_of_this_process();
            known["init"] = json!({ "pid": pid, "start_time": start_time,
                "boot": EARLIER });
            fs::create_dir_all(state.parent().expect("one")).expect("mkdir");
            fs::write(state, known.to_string()).expect("written");
        }
    }
    let last = world.store.path().join("containers/up/last.json");
    let text = fs::read_to_string(&last).expect("it is there");
    let mut known: Value = serde_json::from_str(&text).expect("it is JSON");
    known["boot"] = EARLIER.into();
    fs::write(last, known.to_string()).expect("written");

    assert_eq!(world.state("up").as_deref(), Some("exited"));
    let all = world.says(["ps", "-a"]);
    assert!(all.contains("Exited (4)") && all.contains("Exited (255)"));
    assert_eq!(world.inspect("up")["State"]["ExitCode"], 255);
    assert_eq!(world.says(["wait", "up"]), "255");
    assert_eq!(world.says(["ps", "-q"]), "");
    world.fails(["kill", "up"]);
    // What it had written is still there, and so is its log.
    world.says(["start", "up"]);
    wait_until("a second line", || {
        world.says(["logs", "up"]).lines().count() == 2
    });
    let kept = world.store.path().join("containers/up/layer/upper/kept");
    assert_eq!(fs::read_to_string(kept).expect("it is kept"), "x\nx\n");
    world.says(["rm", "-f", "up", "done"]);
    world.assert_no_trace();
}

/// The kernel's id of an earlier run of the machine.
const EARLIER: &str = "00000000-0000-4000-8000-000000000000";

fn numbers_of_this_process() -> (i32, u64) {
    let stat = Stat::read("self").expect("/proc shows us");
    (getpid().as_raw(), stat.start_time)
}

fn a_stopped_container_gets_no_time_and_can_be_killed() {
    let world = World::new();
    world.start("web", "while true; do echo tick; sleep 0.02; done");
    world.wait_for("web", "tick");
    let paused = world.run(["pause", "web"]);
    if !paused.status.success() {
        let text = String::from_utf8_lossy(&paused.stderr).into_owned();
        assert!(text.contains("pausing needs"), "{text}");
        skip(text.lines().next().unwrap_or_default());
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

/// The monitor, its helpers, and the container's number 1.
fn family(world: &World, name: &str) -> Vec<i32> {
    let monitor = world.number(name, "MonitorPid");
    // In the order of their birth.
    let children = format!("/proc/{monitor}/task/{monitor}/children");
    let text = fs::read_to_string(children).expect("it has children");
    let children = text.split_whitespace().filter_map(|it| it.parse().ok());
    [monitor].into_iter().chain(children).collect()
}

/// Whoever is killed, at whatever moment: `ps` says what is true, and nothing
/// is left.
fn a_hundred_times_somebody_is_killed_and_nothing_is_left() {
    let mut random = random();
    let world = World::new();
    for _ in 0..100 {
        let script = "while true; do echo x; sleep 0.001; done";
        world.start("web", script);
        let family = family(&world, "web");
        assert_eq!(family.len(), 4, "monitor, init, server, pump");
        sleep(Duration::from_micros(random.below(5000)));
        let place = random.index(family.len());
        let victim = family[place];
        let cgroups = world.inspect("web")["State"]["Cgroups"].clone();
        end(victim);
        wait_until("it is dead", || !exists(victim));
        let is_monitor = place == 0;
        let is_init = victim == family[1];
        match (is_monitor, is_init) {
            (true, _) => {
                assert_eq!(world.state("web").as_deref(), Some("dead"));
                wait_until("all are gone", || {
                    !family.iter().any(|it| exists(*it))
                });
            }
            (_, true) => {
                assert_eq!(world.says(["wait", "web"]), "137");
            }
            _ => {
                // A helper: another one takes its place.
                assert_eq!(world.state("web").as_deref(), Some("running"));
                wait_until("a new helper", || {
                    self::family(&world, "web").len() == 4
                });
                let count = || world.says(["logs", "web"]).len();
                let before = count();
                wait_until("the log grows", || count() > before);
            }
        }
        world.says(["rm", "-f", "web"]);
        world.assert_no_trace();
        for cgroup in cgroups.as_array().expect("a list") {
            let path = cgroup.as_str().expect("a path");
            assert!(!fs::exists(path).expect("it"), "{path}");
        }
    }
}

/// And whoever is killed while a container is made: whoever has asked for it, or
/// any of those that it has started so far.
fn a_run_that_is_killed_on_its_way_leaves_nothing() {
    let mut random = random();
    let world = World::new();
    // The path is what we find it by: number 1 hides its command line.
    let script = format!(": {}; sleep 100; :", world.store.path().display());
    for round in 0..60 {
        let detach: &[&str] =
            if round % 2 == 0 { &["-d", "--rm"] } else { &[] };
        let command = &["-", "sh", "-c", &script];
        let arguments = [&["run"][..], detach, command];
        let mut command = world.command(arguments.concat());
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = command.spawn().expect("box runs");
        sleep(Duration::from_micros(random.below(30_000)));
        let mut family = world.pids();
        let first = random.index(family.len().max(1));
        let number = family.len();
        family.rotate_left(first.min(number));
        // One of them, and the others when that one has had a moment.
        for (number, pid) in family.into_iter().enumerate() {
            end(pid);
            let moment = Duration::from_millis(if number == 0 { 3 } else { 0 });
            sleep(moment);
        }
        run.wait().expect("it has ended");
        wait_until("no process", || {
            world.pids().into_iter().for_each(end);
            world.processes().is_empty()
        });
        // Whoever looks takes away what is left.
        wait_until("it is gone", || world.says(["ps", "-aq"]).is_empty());
        world.assert_no_trace();
    }
    let containers = world.store.path().join("containers");
    wait_until("no names are left", || {
        world.says(["ps"]);
        fs::read_dir(&containers).expect("it").count() == 0
    });
}
