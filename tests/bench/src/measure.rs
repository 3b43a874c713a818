//! Runs subjects and times them, by turns.
#![allow(unsafe_code)]

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use ground::Random;
use nix::{
    errno::Errno,
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, alarm},
};

use crate::subjects::{ID, MARK, Subject};

/// The machine is idle for so long before each cold start.
const IDLE: Duration = Duration::from_millis(100);

/// Seconds after which a run is killed.
pub(crate) const TIMEOUT: u32 = 10;

/// Set by Ctrl-C. What is running then runs to its end, so that it cleans up
/// after itself, and nothing new is started.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Has SIGINT and SIGTERM end the benchmark between two runs, and SIGALRM
/// interrupt the wait for one that hangs.
pub(crate) fn install_handlers() -> anyhow::Result<()> {
    extern "C" fn interrupt(signal: i32) {
        if signal != Signal::SIGALRM as i32 {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    }
    // No SA_RESTART: a wait is to be interrupted.
    let action = SigAction::new(
        SigHandler::Handler(interrupt),
        SaFlags::empty(),
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGALRM] {
        // SAFETY: the handler stores to an atomic, which may be done at any
        // time. See signal-safety(7).
        unsafe { nix::sys::signal::sigaction(signal, &action) }
            .with_context(|| format!("sigaction({signal})"))?;
    }
    Ok(())
}

/// Fails once Ctrl-C was pressed.
pub(crate) fn check_interrupted() -> anyhow::Result<()> {
    match INTERRUPTED.load(Ordering::Relaxed) {
        true => bail!("interrupted"),
        false => Ok(()),
    }
}

/// What became of a run.
pub(crate) enum Outcome {
    /// It exited with 0, so long after its start.
    Done(Duration),
    /// It did not, for this reason.
    Failed(String),
}

/// A run that was started.
pub(crate) struct Running {
    pub(crate) pid: Pid,
    start: Instant,
}

/// Starts a command.
pub(crate) fn start(command: &mut Command) -> anyhow::Result<Running> {
    let start = Instant::now();
    let child = command.spawn();
    let child = child
        .with_context(|| format!("execve({:?})", command.get_program()))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    Ok(Running { pid, start })
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<Outcome> {
    wait(&start(command)?)
}

/// The command line as something to run, with nothing to read and nobody to
/// hear what it says, in a process group of its own: a Ctrl-C is for us.
pub(crate) fn command(line: &[OsString]) -> anyhow::Result<Command> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = format!("{MARK}-{}-{count}", std::process::id());
    let (program, arguments) = line.split_first().context("no program")?;
    let mut command = Command::new(program);
    for argument in arguments {
        match argument.to_str() {
            Some(text) => command.arg(text.replace(ID, &id)),
            None => command.arg(argument),
        };
    }
    // Or each error of the steps, also one that is only an answer, would look
    // where it was made.
    command
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LIB_BACKTRACE");
    command.process_group(0);
    command.stdin(null()?).stdout(null()?).stderr(null()?);
    Ok(command)
}

fn null() -> io::Result<Stdio> {
    let file = File::options().read(true).write(true).open("/dev/null")?;
    Ok(file.into())
}

/// Waits for the end of `running`, but not for ever.
pub(crate) fn wait(running: &Running) -> anyhow::Result<Outcome> {
    let pid = running.pid;
    alarm::set(TIMEOUT);
    let status = loop {
        match waitpid(pid, None) {
            Err(Errno::EINTR) if timed_out(running.start) => {
                kill_group(pid);
                waitpid(pid, None).context("wait4()")?;
                let hung = format!("hung for {TIMEOUT} s");
                return Ok(Outcome::Failed(hung));
            }
            Err(Errno::EINTR) => {}
            status => break status.context("wait4()")?,
        }
    };
    let duration = running.start.elapsed();
    alarm::cancel();
    Ok(match status {
        WaitStatus::Exited(_, 0) => Outcome::Done(duration),
        WaitStatus::Exited(_, code) => {
            Outcome::Failed(format!("exit code {code}"))
        }
        status => Outcome::Failed(format!("{status:?}")),
    })
}

/// Whether what began at `start` takes too long.
pub(crate) fn timed_out(start: Instant) -> bool {
    start.elapsed() >= Duration::from_secs(TIMEOUT.into())
}

pub(crate) fn kill_group(leader: Pid) {
    // It fails only if the group is gone.
    let _ = nix::sys::signal::killpg(leader, Signal::SIGKILL);
}

/// The samples of one subject.
#[derive(Default, Clone)]
pub(crate) struct Samples {
    pub(crate) burst: Vec<Duration>,
    pub(crate) cold: Vec<Duration>,
    /// Why runs failed, one text for each that did.
    pub(crate) failures: Vec<String>,
}

/// When a run starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// As soon as the one before has ended.
    Burst,
    /// After [`IDLE`].
    Cold,
}

/// Runs each subject `rounds` times at the given pace. In each round every
/// subject has one turn, in another order: a machine that becomes slower does
/// so for all, and nobody always comes after the same neighbour.
pub(crate) fn by_turns(
    subjects: &[Subject],
    samples: &mut [Samples],
    pace: Pace,
    rounds: usize,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<()> {
    let mut random = Random::new(SEED);
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    for round in 0..rounds {
        progress(round);
        shuffle(&mut order, &mut random);
        for &index in &order {
            check_interrupted()?;
            if pace == Pace::Cold {
                sleep(IDLE);
            }
            let mut command = command(&subjects[index].command)?;
            let samples = &mut samples[index];
            match run(&mut command)? {
                Outcome::Failed(reason) => samples.failures.push(reason),
                Outcome::Done(time) => match pace {
                    Pace::Burst => samples.burst.push(time),
                    Pace::Cold => samples.cold.push(time),
                },
            }
        }
    }
    Ok(())
}

/// The same in each run of the benchmark.
pub(crate) const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// Fisher and Yates's shuffle.
pub(crate) fn shuffle(order: &mut [usize], random: &mut Random) {
    for last in (1..order.len()).rev() {
        order.swap(last, random.index(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_loses_nobody() {
        let mut order: Vec<usize> = (0..30).collect();
        shuffle(&mut order, &mut Random::new(SEED));
        assert_ne!(order, (0..30).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..30).collect::<Vec<_>>());
    }
}
