//! Lab 2: process numbers of its own, and an init.

use std::{
    fs,
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ground::processes::Stat;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Check, step01};
use crate::bench::{Bench, Container, random_in, status_of};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("has_an_init", has_an_init),
    ("signals_nobody_outside", signals_nobody_outside),
    ("passes_on_exit_codes", passes_on_exit_codes),
    ("reaps_orphans", reaps_orphans),
    ("passes_on_signals", passes_on_signals_to_the_command),
    ("ends_with_the_command", ends_with_the_command),
];

pub(super) fn start(bench: &Bench) -> anyhow::Result<Container> {
    step01::start(bench, "box")
}

fn has_an_init(bench: &Bench) -> anyhow::Result<()> {
    let container = start(bench)?;
    container.has_own("pid", "CLONE_NEWPID")?;
    let init = container.init()?;
    ensure!(
        init != container.pid,
        "the command is number 1 itself: nobody reaps its orphans"
    );
    Ok(())
}

/// A process of ours, outside, that ends with this value.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signals_nobody_outside(bench: &Bench) -> anyhow::Result<()> {
    let victim = Command::new("sleep").arg("60").spawn();
    let mut victim = Victim(victim.context("starting sleep")?);
    let mut container = start(bench)?;
    // A number far above those that a container gives.
    let number = victim.0.id().to_string();
    let answer = container.ask(&["kill", &number, "SIGKILL"])?;
    sleep(Duration::from_millis(20));
    ensure!(
        victim.0.try_wait()?.is_none(),
        "a process outside, number {number}, was killed from inside: the \
         container has no PID namespace of its own"
    );
    ensure!(
        !answer.is_empty(),
        "from inside there is a process {number}"
    );
    Ok(())
}

/// An exit code that nobody knows before, and that means nothing.
fn some_code() -> u8 {
    let code = random_in(2..120);
    u8::try_from(code).expect("it is below 120")
}

fn passes_on_exit_codes(bench: &Bench) -> anyhow::Result<()> {
    for code in [0, 1, some_code()] {
        let found = start(bench)?.finish(code)?;
        ensure!(
            found == i32::from(code),
            "the command ends with {code}, the program with {found}"
        );
    }
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGUSR1] {
        let mut container = start(bench)?;
        container.tell(&["kill", "self", signal.as_str()])?;
        let (found, expected) = (container.wait()?, 128 + signal as i32);
        ensure!(
            found == expected,
            "the command is killed by {signal}, and the program ends with \
             {found} instead of {expected}"
        );
    }
    Ok(())
}

fn reaps_orphans(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    let init = container.init()?;
    let before = container.processes();
    container.must(&["orphans", "5"])?;
    let mut orphans = container.processes();
    orphans.retain(|pid| !before.contains(pid));
    ensure!(
        orphans.len() == 5,
        "five orphans were made, and there are {}",
        orphans.len()
    );
    for orphan in &orphans {
        let parent = Stat::of(*orphan).context("an orphan has gone")?.parent;
        ensure!(parent == init, "an orphan is not the child of number 1");
    }
    // While the init is stopped, all five SIGCHLD become one.
    kill(Pid::from_raw(init), Signal::SIGSTOP)?;
    until(|| has_stopped(init));
    for orphan in &orphans {
        kill(Pid::from_raw(*orphan), Signal::SIGKILL)?;
    }
    let zombies = || {
        let states = orphans.iter().filter_map(|pid| Stat::of(*pid));
        states.filter(|it| it.state == 'Z').count()
    };
    until(|| zombies() == 5);
    let were = zombies();
    kill(Pid::from_raw(init), Signal::SIGCONT)?;
    ensure!(
        were == 5,
        "{were} of five are zombies while the init is stopped"
    );
    until(|| zombies() == 0);
    match zombies() {
        0 => Ok(()),
        left => anyhow::bail!(
            "five orphans ended at once, and {left} of them stay zombies: one \
             SIGCHLD can stand for several children"
        ),
    }
}

/// Whether all threads of a process have stopped: until then one may still reap.
fn has_stopped(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let mut states = threads.flatten().map(|thread| {
        let number = thread.file_name().to_string_lossy().parse()?;
        status_of(number, "State")
    });
    states.all(|it| it.is_ok_and(|state| state.starts_with('T')))
}

/// Waits until something is so, for a while.
pub(super) fn until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() && start.elapsed() < Duration::from_secs(2) {
        sleep(Duration::from_millis(2));
    }
}

fn passes_on_signals_to_the_command(bench: &Bench) -> anyhow::Result<()> {
    passes_on_signals(bench)?;
    reaches_nobody_else(bench)
}

pub(super) fn passes_on_signals(bench: &Bench) -> anyhow::Result<()> {
    // All that a signal can mean: some of the others will do.
    let more = ["SIGINT", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGWINCH"];
    for signal in ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"]
        .into_iter()
        .chain(more)
    {
        becomes(bench, signal, signal)?;
    }
    from_outside(bench)
}

/// Whether others of the container are spared what is meant for the command.
pub(super) fn reaches_nobody_else(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    let before = container.processes();
    container.must(&["orphans", "1"])?;
    let mut orphans = container.processes();
    orphans.retain(|pid| !before.contains(pid));
    container.must(&["catch", "SIGTERM"])?;
    container.must(&["kill", "1", "SIGTERM"])?;
    container.must(&["caught"])?;
    sleep(Duration::from_millis(50));
    let is_alive = |pid: &i32| Stat::of(*pid).is_some_and(|it| it.state != 'Z');
    ensure!(
        orphans.iter().all(is_alive),
        "number 1 got SIGTERM, and an orphan has got it as well: it is meant \
         for the command alone"
    );
    Ok(())
}

/// Whether the command gets `expected` when number 1 gets `signal`.
pub(super) fn becomes(
    bench: &Bench,
    signal: &str,
    expected: &str,
) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    container.must(&["catch", expected])?;
    // From inside, to number 1.
    container.must(&["kill", "1", signal])?;
    let caught = container.must(&["caught"])?;
    ensure!(
        caught == expected,
        "number 1 got {signal}, and the command got {caught}"
    );
    Ok(())
}

/// Whether the command gets what the program gets.
pub(super) fn from_outside(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    container.must(&["catch", "SIGTERM"])?;
    kill(Pid::from_raw(container.outside()), Signal::SIGTERM)?;
    let caught = container.must(&["caught"])?;
    ensure!(
        caught == "SIGTERM",
        "the program got SIGTERM, and the command got {caught}"
    );
    Ok(())
}

fn ends_with_the_command(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    let init = container.init()?;
    container.must(&["orphan-that-ends"])?;
    sleep(Duration::from_millis(100));
    container
        .must(&["numbers"])
        .context("an orphan has ended, and the container with it")?;
    container.tell(&["kill", "self", "SIGSTOP"])?;
    let state = || Stat::of(container.pid).map(|it| it.state);
    until(|| state() != Some('S') && state() != Some('R'));
    sleep(Duration::from_millis(50));
    kill(Pid::from_raw(container.pid), Signal::SIGCONT)
        .context("the command was stopped, and the container has ended")?;
    container
        .hear()
        .context("the command was stopped, and the container has ended")?;
    container.must(&["orphans", "2"])?;
    let processes = container.processes();
    let code = container.finish(3)?;
    ensure!(
        code == 3,
        "with orphans left, the command ends with 3, the program with {code}"
    );
    until(|| {
        processes
            .iter()
            .all(|pid| status_of(*pid, "State").is_err())
    });
    let left = processes.iter().filter(|pid| Stat::of(**pid).is_some());
    ensure!(
        left.count() == 0,
        "the command has ended, and other processes of the container have not"
    );
    ensure!(Stat::of(init).is_none(), "the init has not ended");
    Ok(())
}
