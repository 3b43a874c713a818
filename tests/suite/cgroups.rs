//! Step 4: limits, told by their effect.

use std::{fs, path::PathBuf};

use harness::{
    CGROUPS, MOUNT, OVERLAY, Run, Test, claims,
    host::{self, cgroup_of, count_processes},
    image::Image,
    needs, wait_until,
};
use nix::sys::signal::Signal;

use crate::{bad_input::assert_message, refusals::in_namespaces};

pub(crate) const TESTS: &[Test] = claims![
    fifty_mebibytes_are_52428800_bytes,
    no_swap_beyond_the_limit,
    the_hog_is_killed_and_the_loop_around_it_goes_on,
    a_group_is_not_killed_as_one,
    the_same_hog_finishes_without_a_limit,
    below_the_limit_the_hog_runs_normally,
    the_limit_is_on_the_sum_of_all_processes,
    what_sockets_hold_counts,
    membership_is_inherited,
    a_cpu_quota_makes_a_busy_process_wait,
    a_fork_bomb_is_stopped,
    the_cgroup_lives_as_long_as_the_container,
    a_limit_without_a_delegated_cgroup_is_an_error,
    the_default_limits_without_a_delegated_cgroup_are_a_warning,
    a_supervisor_that_is_a_zombie_counts_as_dead,
    more_cpus_than_the_cgroup_above_has_are_explained,
    a_tree_may_be_mounted_in_part_and_anywhere,
    controllers_may_share_a_tree,
    a_machine_may_have_both_versions,
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
///
/// Who has to die is the kernel's choice. It takes the biggest process, unless
/// that one is just being taken apart; then it may be the shell or the init, and
/// the container ends with 137. What it never does: let the hog finish.
fn the_hog_is_killed_and_the_loop_around_it_goes_on() {
    let script = "for round in 1 2 3; do memhog 100M; echo $?; done; echo end";
    let run = fifty_mebibytes().sh(script);
    let lines = run.lines();
    let rounds = lines.iter().take_while(|line| **line == ".....137");
    let rounds = rounds.count();
    match lines[rounds..] {
        ["end"] => {
            run.ok();
            assert_eq!(rounds, 3);
            assert_eq!(run.stderr.matches("Killed").count(), 3);
        }
        // Killed in the middle of a round, with the loop around it.
        [] | ["....."] => assert_eq!(run.code, 137),
        _ => panic!("neither killed nor at its end"),
    }
}

/// On version 2 a group can be killed as one. Then no loop would go on.
fn a_group_is_not_killed_as_one() {
    let mut container = fifty_mebibytes().start_sh("echo ready; read _");
    container.wait_for("ready");
    let (cgroup, _) = cgroup_of(container.command(), "memory");
    if let Ok(as_one) = fs::read_to_string(cgroup.join("memory.oom.group")) {
        assert_eq!(as_one.trim(), "0");
    }
    container.finish().ok();
}

fn the_same_hog_finishes_without_a_limit() {
    assert_eq!(MOUNT.sh("memhog 100M").ok(), "..........");
}

fn below_the_limit_the_hog_runs_normally() {
    assert_eq!(fifty_mebibytes().sh("memhog 30M").ok(), "...");
}

/// Two hogs that would each have room enough alone, and hold what they have.
fn the_limit_is_on_the_sum_of_all_processes() {
    let hog = "(memhog 30M 8; echo code=$?) &";
    let script = format!("{hog} {hog} read _");
    let mut container = fifty_mebibytes().start_sh(&script);
    container.wait_for("code=137");
    container.finish().ok();
}

/// What one end of a connection has sent and the other has not read is in the
/// kernel's memory. On version 1 it has a limit of its own.
fn what_sockets_hold_counts() {
    let image = Image::minimal();
    let fill = ["fill-sockets", "24"];
    let mebibytes = |run: &harness::Finished| run.ok().parse::<u32>();

    let limited = limited("--memory", "8m").options(["--cpus", "2"]);
    let limited = image.helper_with(limited, CGROUPS, &fill).finish();
    // Or the kernel kills the sender, where one limit is for all memory.
    if limited.code != 137 {
        let limited = mebibytes(&limited).expect("a number");
        assert!(limited < 16, "{limited} MiB");
    }
    let free = mebibytes(&image.helper(MOUNT, &fill)).expect("a number");
    assert_eq!(free, 24, "MiB");
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
/// periods of 100 ms: from the first to the last it is 300 ms at least, and a
/// busy machine only adds to it. There it may get less than its fifth in most
/// periods, and then it does not have to wait for the next.
///
/// The same with two processors: one thread can't use them up, so it may have to
/// wait for others, but never for the next period. The kernel counts that.
fn a_cpu_quota_makes_a_busy_process_wait() {
    let image = Image::minimal();
    let burn = |cpus| {
        let run = limited("--cpus", cpus);
        let mut container =
            image.helper_with(run, CGROUPS, &["burn-cpu", "100"]);
        container.wait_for("ms");
        let (cgroup, _) = cgroup_of(container.command(), "cpu");
        let statistics = fs::read_to_string(cgroup.join("cpu.stat"));
        let statistics = statistics.expect("it is there");
        let waited = statistics
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "))
            .expect("the kernel counts that");
        let waited: u32 = waited.parse().expect("a number");
        let run = container.finish();
        let (milliseconds, _) = run.ok().split_once(' ').expect("two words");
        (milliseconds.parse::<u32>().expect("a number"), waited)
    };
    // Where others keep it from its fifth, nobody has to.
    wait_until("a machine with a fifth to spare", || {
        let (milliseconds, waited) = burn("0.2");
        assert!(milliseconds >= 300, "it took {milliseconds} ms");
        (waited > 0).then_some(())
    });

    let (milliseconds, waited) = burn("2");
    assert_eq!(waited, 0, "without need, in {milliseconds} ms");
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

/// Killed, but not waited for: it keeps its number and its start time, and what
/// it has left is swept all the same.
fn a_supervisor_that_is_a_zombie_counts_as_dead() {
    needs::limits();
    for step in CGROUPS.and_later() {
        let mut container = step.run().start_sh("echo ready; read _");
        container.wait_for("ready");
        // As long as it lives, nothing of it is taken away.
        CGROUPS.sh("true").ok();
        let made = container.cgroups();
        assert!(!made.is_empty(), "{}", step.name);

        container.signal(Signal::SIGKILL);
        let zombie = || host::state(container.supervisor()) == Some('Z');
        wait_until("the zombie", || zombie().then_some(()));
        for cgroup in &made {
            wait_until("the end of the container", || {
                (count_processes(cgroup) == 0).then_some(())
            });
        }
        CGROUPS.sh("true").ok();
        assert!(zombie());
        assert_eq!(container.cgroups(), [] as [PathBuf; 0], "{}", step.name);
        container.kill();
    }
}

/// A cgroup of ours, which goes with this value. Whether there can be one, no
/// step is asked: it may be what is wrong.
struct BelowOurOwn(PathBuf);

impl BelowOurOwn {
    /// In the tree of version 1 that has `controller`.
    fn new(controller: &str) -> BelowOurOwn {
        needs::root();
        let us = std::process::id().cast_signed();
        let (own, version) = cgroup_of(us, controller);
        if version == 2 {
            harness::skip("needs limits on cgroup version 1");
        }
        let name = tempfile::Builder::new().prefix("suite-").tempdir_in(own);
        match name {
            Ok(ours) => BelowOurOwn(ours.keep()),
            Err(_) => harness::skip("needs a cgroup that we may change"),
        }
    }
}

impl Drop for BelowOurOwn {
    fn drop(&mut self) {
        let removed = ground::cgroups::remove_all(&self.0);
        if !std::thread::panicking() {
            removed.expect("nobody is left in it");
        }
    }
}

/// A cgroup of version 1 can't be given more of the CPU than the one above has.
/// (On version 2 it can, and the smaller one holds.)
fn more_cpus_than_the_cgroup_above_has_are_explained() {
    let ours = BelowOurOwn::new("cpu");
    let above = &ours.0;
    let quota = above.join("cpu.cfs_quota_us");
    fs::write(quota, "25000").expect("it is a quarter of the period");
    let inside = |run: Run| {
        let tasks = above.join("tasks");
        run.through(&format!("echo $$ >{tasks:?} && exec \"$0\" \"$@\""))
    };
    for step in CGROUPS.and_later() {
        let run = inside(step.run().options(["--cpus", "2"])).sh("true");
        let cause = "on version 1 no cgroup can have more of the CPU than \
                     those above it";
        let parts = [&*above.to_string_lossy(), "0.25 CPUs", "EINVAL", cause];
        assert_message(&run, 125, &parts);

        let run = inside(step.run()).sh("echo it runs");
        assert_eq!(run.ok(), "it runs");
        let warning = run.stderr.trim();
        assert!(warning.contains("warning: not limited: cpu: "), "{warning}");
        assert!(warning.contains("0.25 CPUs: EINVAL: Invalid"), "{warning}");

        // Nothing but what every start says, on an older kernel.
        let run = inside(step.run().options(["--cpus", "0.25"])).sh("true");
        run.ok();
        assert_eq!(run.stderr, step.sh("true").stderr);
    }
}

/// As in Docker, where a container sees its own part of each tree. Where that
/// is, nobody has promised.
fn a_tree_may_be_mounted_in_part_and_anywhere() {
    let ours = BelowOurOwn::new("memory");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = directory.path().join("a tree");
    fs::create_dir(&place).expect("it is ours");
    let unmount = needs::at_each_cgroup_mount("umount --lazy");
    let run = CGROUPS.run().options(["--memory", "50M"]);
    let run = run.env("OURS", &ours.0);
    let run = run.env("PLACE", &place);
    let run = in_namespaces(
        run,
        "--mount",
        &format!(
            "echo $$ >\"$OURS/tasks\" && \
             mount --bind \"$OURS\" \"$PLACE\" && {unmount}"
        ),
    );
    let mut container = run.start_sh("echo ready; read _");
    container.wait_for("ready");
    let (cgroup, _) = cgroup_of(container.command(), "memory");
    assert_eq!(cgroup.parent(), Some(&*ours.0));
    let limit = fs::read_to_string(cgroup.join("memory.limit_in_bytes"));
    assert_eq!(limit.expect("it is there").trim(), "52428800");
    container.finish().ok();
}

/// As on most machines with version 1: `cpu` and `cpuacct` are one tree. Where
/// they are two, as here, the kernel's files are shown as they would be there.
fn controllers_may_share_a_tree() {
    let ours = BelowOurOwn::new("cpu");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = "echo $$ >\"$OURS/tasks\" && cd \"$PLACE\" && \
        sed \"s/:cpu:/:cpu,cpuacct:/; /:cpuacct:/d\" \
            /proc/$$/cgroup >cgroup && \
        sed \"s/ rw,cpu\\$/ rw,cpu,cpuacct/; / rw,cpuacct\\$/d\" \
            /proc/$$/mountinfo >mountinfo && \
        mount --bind cgroup /proc/$$/cgroup && \
        mount --bind mountinfo /proc/$$/mountinfo";
    let run = CGROUPS.run().options(["--cpus", "0.25"]);
    let run = run.env("OURS", &ours.0);
    let run = run.env("PLACE", directory.path());
    let mut container =
        in_namespaces(run, "--mount", script).start_sh("echo ready; read _");
    container.wait_for("ready");
    let (cgroup, _) = cgroup_of(container.command(), "cpu");
    assert_eq!(cgroup.parent(), Some(&*ours.0));
    let quota = fs::read_to_string(cgroup.join("cpu.cfs_quota_us"));
    assert_eq!(quota.expect("it is there").trim(), "25000");
    container.finish().ok();
}

/// Hybrid: a tree of version 2, and the controllers in those of version 1.
fn a_machine_may_have_both_versions() {
    let ours = BelowOurOwn::new("memory");
    let place = tempfile::tempdir().expect("a temporary directory");
    let run = CGROUPS.run().options(["--memory", "50M"]);
    let run = run.env("OURS", &ours.0);
    let run = run.env("PLACE", place.path());
    let script = "echo $$ >\"$OURS/tasks\" && \
                  mount -t cgroup2 none \"$PLACE\"";
    let mut container =
        in_namespaces(run, "--mount", script).start_sh("echo ready; read _");
    container.wait_for("ready");
    let (cgroup, _) = cgroup_of(container.command(), "memory");
    assert_eq!(cgroup.parent(), Some(&*ours.0));
    container.finish().ok();
}

fn without_delegation() {
    needs::plain_user();
    if needs::why_no_limits().is_none() {
        harness::skip("needs a user who may not set limits");
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
        // There may be one about something else, on an older kernel.
        let lines = run.stderr.lines();
        let warnings: Vec<&str> =
            lines.filter(|line| line.contains("limited")).collect();
        let [warning] = warnings[..] else {
            panic!("not one line but {warnings:?}");
        };
        assert!(warning.contains("warning: not limited: "), "{warning}");
        assert!(warning.contains("memory"), "{warning}");
        // The errno has its name, as in an error.
        let errnos = [": EACCES: ", ": EROFS: ", ": EBUSY: "];
        let named = errnos.iter().any(|errno| warning.contains(errno));
        assert!(named || !warning.contains("no delegated"), "{warning}");
        assert!(!warning.contains("os error"), "{warning}");
    }
}
