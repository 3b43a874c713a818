//! Whoever is killed, and if the machine is: nothing is left but the truth.

use std::{fs, process::Stdio, thread::sleep, time::Duration};

use common::process::Stat;
use harness::{Test, claims, random};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid},
};
use serde_json::{Value, json};

use crate::world::{World, exists, wait_until};

pub(crate) const TESTS: &[Test] = claims![
    a_reboot_leaves_the_truth,
    a_hundred_times_somebody_is_killed_and_nothing_is_left,
    a_run_that_is_killed_on_its_way_leaves_nothing,
];

fn end(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
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
