//! From the first moment to the last: nothing outlives a run.

use std::{fs, path::PathBuf, thread::sleep, time::Duration};

use ground::leftovers;
use harness::{
    ALL, CGROUPS, FULL, MOUNT, PID, Test, UTS, claims, host, needs, random,
    trace, wait_until,
};
use nix::sys::signal::Signal;

pub(crate) const TESTS: &[Test] = claims![
    a_supervisor_that_is_killed_takes_its_container_along,
    a_supervisor_killed_at_any_moment_leaves_nothing,
    a_supervisor_that_dies_before_its_child_can_notice_leaves_nothing,
    a_probe_killed_at_any_moment_leaves_nothing,
    a_start_that_fails_leaves_nothing,
    the_suite_removes_what_no_later_run_would,
    many_fast_starts_leave_nothing,
    sigterm_ends_a_container,
];

fn a_supervisor_that_is_killed_takes_its_container_along() {
    for step in ALL {
        let script = match step {
            // Only an init takes more than the command along.
            UTS => "echo ready; read _",
            _ => "sleep 60 & echo ready; read _",
        };
        let mut container = step.run().start_sh(script);
        container.wait_for("ready");
        container.kill();
    }
}

/// Forty kills, most of them while the container is being made.
fn a_supervisor_killed_at_any_moment_leaves_nothing() {
    let mut random = random();
    let mut left_behind = Vec::new();
    for round in 0..40 {
        let step = ALL[round % ALL.len()];
        let container = step.run().start(["sleep", "60"]);
        sleep(Duration::from_micros(random.below(8_000)));
        left_behind.extend(container.kill());
    }
    // A cgroup with nobody in it may be left. The next run sweeps it.
    FULL.sh("true").ok();
    left_behind.retain(|cgroup| cgroup.exists());
    assert!(left_behind.is_empty(), "not swept: {left_behind:?}");
}

/// The worst of these moments: the gate is open, and the child has not yet asked
/// to be killed along with its parent. We hold it back there, as a debugger does.
/// See ptrace(2).
fn a_supervisor_that_dies_before_its_child_can_notice_leaves_nothing() {
    for step in [UTS, PID] {
        let run = step.run().through("read _; exec \"$0\" \"$@\"");
        let mut container = run.start(["sleep", "60"]);
        let supervisor = container.supervisor();
        trace::watch(supervisor);
        container.type_line("");
        let child = trace::hold_child(supervisor);
        wait_until("all that it does for its child", || {
            host::is_at_rest(supervisor).then_some(())
        });
        container.signal(Signal::SIGKILL);
        wait_until("the zombie", || {
            (host::state(supervisor) == Some('Z')).then_some(())
        });
        trace::let_go(child);
        container.kill();
    }
}

/// Neither its temporary files nor shared memory.
fn a_probe_killed_at_any_moment_leaves_nothing() {
    // The probe's memory has a page and no key; here nobody has it attached.
    let has_left_memory = || {
        let list = fs::read_to_string("/proc/sysvipc/shm").expect("/proc");
        let is_left = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields[0], fields[3], fields[6]) == ("0", "4096", "0")
        };
        list.lines().any(is_left)
    };
    let mut random = random();
    for round in 0..12 {
        let step = ALL[round % ALL.len()];
        let probe = step.subcommand("probe").start_bare();
        sleep(Duration::from_micros(random.below(100_000)));
        probe.kill();
        wait_until(&format!("the end of {}'s memory", step.name), || {
            (!has_left_memory()).then_some(())
        });
    }
}

/// It fails late, when all namespaces and mounts have been made.
fn a_start_that_fails_leaves_nothing() {
    for step in ALL {
        let nowhere = step.run().options(["--workdir", "/nowhere"]);
        let run = nowhere.sh("echo unreachable");
        assert_eq!((run.code, run.stdout.as_str()), (125, ""), "{run}");
        let call = r#"openat2(AT_FDCWD, "/nowhere", "#;
        let errno = "ENOENT: No such file";
        assert!(run.stderr.contains(call), "{run}");
        assert!(run.stderr.contains(errno), "{run}");
    }
}

/// A run sweeps after those of its own PID namespace; if all of that is gone, the
/// suite has to do it, at its end. In a PID namespace itself it can't tell those
/// that are gone from those that it does not see, and keeps its hands off.
fn the_suite_removes_what_no_later_run_would() {
    needs::root();
    needs::limits();
    let script = "exec unshare --pid --fork --kill-child \
        sh -c 'readlink /proc/self/ns/pid; exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    let run = CGROUPS.run().through(script);
    let mut container = run.start_sh("echo ready; read _");
    container.wait_for("ready");
    let output = container.stdout();
    let namespace: String =
        output.chars().filter(char::is_ascii_digit).collect();
    let maker = format!(".{namespace}.");
    let left = || -> Vec<PathBuf> {
        let all = leftovers::of_containers().into_iter();
        all.filter(|it| it.to_string_lossy().contains(&maker))
            .collect()
    };
    let made = left();
    leftovers::sweep(&made);
    assert!(!made.is_empty(), "then this test says nothing");
    assert_eq!(left(), made, "swept while it runs");
    container.kill();
    if !leftovers::sees_all() {
        leftovers::sweep(&made);
        assert_eq!(left(), made, "swept without knowing");
        return;
    }
    // The namespace's number 1 ends when all others have.
    wait_until("it is swept", || {
        leftovers::sweep(&made);
        left().is_empty().then_some(())
    });
}

fn many_fast_starts_leave_nothing() {
    for step in [MOUNT, FULL] {
        for _ in 0..50 {
            step.run().command(["true"]).ok();
        }
    }
}

fn sigterm_ends_a_container() {
    for step in ALL {
        let mut container = step.run().start_sh("echo ready; exec sleep 60");
        container.wait_for("ready");
        container.signal(Signal::SIGTERM);
        assert_eq!(container.finish().code, 143, "{}", step.name);
    }
}
