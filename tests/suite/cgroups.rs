//! Step 4: limits, told by their effect.

use std::fs;

use tests::{
    CGROUPS, MOUNT, OVERLAY, Run, Test,
    host::{cgroup_of, count_processes},
    image::Image,
    needs, tests,
};

use crate::bad_input::assert_message;

pub(crate) const TESTS: &[Test] = tests![
    fifty_mebibytes_are_52428800_bytes,
    no_swap_beyond_the_limit,
    the_hog_is_killed_and_the_loop_around_it_goes_on,
    the_same_hog_finishes_without_a_limit,
    below_the_limit_the_hog_runs_normally,
    the_limit_is_on_the_sum_of_all_processes,
    membership_is_inherited,
    a_cpu_quota_makes_a_busy_process_wait,
    a_fork_bomb_is_stopped,
    the_cgroup_lives_as_long_as_the_container,
    a_limit_without_a_delegated_cgroup_is_an_error,
    the_default_limits_without_a_delegated_cgroup_are_a_warning,
];

/// Step 4 with this option. Steps 5 and 6 call the same code.
fn limited(option: &str, value: &str) -> Run {
    needs::limits();
    CGROUPS.run().options([option, value])
}

/// Step 4 with room for 50 MiB, and all the CPU that there is to fill it: with
/// half of one, an emulated machine takes long.
pub(crate) fn fifty_mebibytes() -> Run {
    limited("--memory", "50M").options(["--cpus", "2"])
}

fn fifty_mebibytes_are_52428800_bytes() {
    let mut container = fifty_mebibytes().start_sh("echo ready; read _");
    container.wait_for("ready");
    let (cgroup, version) = cgroup_of(container.command(), "memory");
    let file = match version {
        1 => "memory.limit_in_bytes",
        _ => "memory.max",
    };
    let limit = fs::read_to_string(cgroup.join(file)).expect("it is there");
    assert_eq!(limit.trim(), "52428800");
    container.finish().ok();
}

/// A machine that has no swap shows no other effect.
fn no_swap_beyond_the_limit() {
    let mut container = fifty_mebibytes().start_sh("echo ready; read _");
    container.wait_for("ready");
    let (cgroup, version) = cgroup_of(container.command(), "memory");
    let (file, limit) = match version {
        // Memory and swap together.
        1 => ("memory.memsw.limit_in_bytes", "52428800"),
        _ => ("memory.swap.max", "0"),
    };
    // A kernel without the file does not count swap.
    if let Ok(found) = fs::read_to_string(cgroup.join(file)) {
        assert_eq!(found.trim(), limit, "{file}");
    }
    container.finish().ok();
}

/// Five dots: it dies in the fifth block of 10 MiB.
fn the_hog_is_killed_and_the_loop_around_it_goes_on() {
    let script = "for round in 1 2 3; do memhog 100M; echo $?; done";
    let run = fifty_mebibytes().sh(script);
    run.ok();
    assert_eq!(run.lines(), [".....137"; 3]);
    assert_eq!(run.stderr.matches("Killed").count(), 3);
}

fn the_same_hog_finishes_without_a_limit() {
    assert_eq!(MOUNT.sh("memhog 100M").ok(), "..........");
}

fn below_the_limit_the_hog_runs_normally() {
    assert_eq!(fifty_mebibytes().sh("memhog 30M").ok(), "...");
}

/// Two hogs that would each have room enough alone.
fn the_limit_is_on_the_sum_of_all_processes() {
    let hog = "(memhog 30M 2; echo code=$?) &";
    let script = format!("{hog} {hog} read _");
    let mut container = fifty_mebibytes().start_sh(&script);
    container.wait_for("code=137");
    container.finish().ok();
}

fn membership_is_inherited() {
    needs::limits();
    for step in CGROUPS.and_later() {
        let script = "sh -c 'sh -c \"echo ready; read _\"; :'; :";
        let mut container = step.run().start_sh(script);
        container.wait_for("ready");
        for controller in ["memory", "cpu", "pids"] {
            let (cgroup, _) = cgroup_of(container.command(), controller);
            let name = cgroup.file_name().expect("it is not the top");
            let name = name.to_string_lossy();
            assert!(name.starts_with("container-in-six-steps."), "{name}");
            // The init and three shells.
            assert_eq!(count_processes(&cgroup), 4, "{}", step.name);
        }
        container.finish().ok();
    }
}

/// With a fifth of a processor, 100 ms of work take 20 ms in each of five
/// periods of 100 ms: from the first to the last it is 300 ms at least.
fn a_cpu_quota_makes_a_busy_process_wait() {
    let image = Image::minimal();
    let burn = ["burn-cpu", "100"];
    let milliseconds = |text: &str| text.parse::<u64>().expect("a number");

    let throttled = limited("--cpus", "0.2");
    let throttled = image.helper_with(throttled, CGROUPS, &burn).finish();
    let throttled = milliseconds(throttled.ok());
    assert!(throttled >= 300, "it took {throttled} ms");

    // Other tests use the processors too: once is enough.
    let free =
        (0..20).any(|_| milliseconds(image.helper(MOUNT, &burn).ok()) < 200);
    assert!(free, "without a quota it takes as long");
}

fn a_fork_bomb_is_stopped() {
    let image = Image::minimal();
    let bomb = ["fork-bomb", "100"];
    let limited = limited("--pids-limit", "20");
    let mut container = image.helper_with(limited, CGROUPS, &bomb);
    // The init and the bomb itself are two of the twenty.
    container.wait_for("18 forks: EAGAIN");
    let (cgroup, _) = cgroup_of(container.command(), "pids");
    assert_eq!(count_processes(&cgroup), 20);
    container.finish().ok();

    let free = image.helper(MOUNT, &bomb);
    assert_eq!(free.ok(), "100 forks: the limit is not reached");
}

fn the_cgroup_lives_as_long_as_the_container() {
    needs::limits();
    for step in CGROUPS.and_later() {
        let mut container = step.run().start_sh("echo ready; read _");
        container.wait_for("ready");
        assert!(!container.cgroups().is_empty(), "{}", step.name);
        // The harness looks whether any is left then.
        container.finish().ok();
    }
}

fn without_delegation() {
    needs::plain_user();
    if needs::why_no_limits().is_none() {
        tests::skip("needs a user who may not set limits");
    }
}

fn a_limit_without_a_delegated_cgroup_is_an_error() {
    without_delegation();
    for step in CGROUPS.and_later() {
        for (option, value, what) in [
            ("--memory", "64m", "memory"),
            ("--cpus", "0.5", "cpu"),
            ("--pids-limit", "64", "processes"),
        ] {
            let run = step.run().options([option, value]).sh("true");
            let parts = [&format!("limiting the {what}"), "systemd-run --user"];
            assert_message(&run, 125, &parts);
        }
    }
}

fn the_default_limits_without_a_delegated_cgroup_are_a_warning() {
    without_delegation();
    for step in [CGROUPS, OVERLAY] {
        let run = step.sh("echo it runs");
        assert_eq!(run.ok(), "it runs", "{}", step.name);
        let warnings: Vec<&str> = run.stderr.lines().collect();
        let [warning] = warnings[..] else {
            panic!("not one line but {warnings:?}");
        };
        assert!(warning.contains("warning: not limited: "), "{warning}");
        assert!(warning.contains("memory"), "{warning}");
    }
}
