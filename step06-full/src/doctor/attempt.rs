//! Children that try something, and what came of it.

use std::{
    fmt,
    io::{self, PipeReader, PipeWriter},
    os::fd::AsRawFd,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use common::{
    errors::{self, Advice, Message},
    process::{self, Change},
    sys,
};
use nix::{
    sys::signal::{SigSet, Signal},
    unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::slate::Slate;
use crate::user::is_pipe;

/// How long an attempt may take. A file system that has lost its server lets one
/// wait for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why an ability is missing. As an error, it is one that a child has met.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    /// The failed call and its errno.
    pub(super) message: String,
    /// Where one cause is usual.
    pub(super) advice: Option<Advice>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// What `error` means *here*: the table of hints looks at the machine as
    /// this process sees it.
    pub(super) fn from(error: &anyhow::Error) -> Failure {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.clone();
        }
        Failure {
            message: errors::one_line(error),
            advice: errors::advice(error),
        }
    }

    /// One line, or four.
    pub(super) fn to_lines(&self) -> String {
        match &self.advice {
            Some(Advice { cause, fix, page }) => {
                format!("{}\n{cause}\n{fix}\n{page}", self.message)
            }
            None => self.message.clone(),
        }
    }

    pub(super) fn parse(text: &str) -> Failure {
        let mut lines = text.split('\n').map(String::from);
        let mut next = || lines.next();
        let message = next().filter(|message| !message.is_empty());
        let message = message.unwrap_or_else(|| "it said nothing".into());
        let advice = match (next(), next(), next()) {
            (Some(cause), Some(fix), Some(page)) => {
                Some(Advice { cause, fix, page })
            }
            _ => None,
        };
        Failure { message, advice }
    }
}

/// What this process was warned of.
static WARNINGS: Mutex<Vec<Failure>> = Mutex::new(Vec::new());

/// Notes a warning, which an attempt may take for an answer ([`unwarned`]).
pub(super) fn note(message: Message) {
    let Message::Warning(warning) = message else {
        return errors::print(message);
    };
    let mut noted = WARNINGS.lock().unwrap_or_else(|it| it.into_inner());
    noted.push(Failure::from(warning));
}

/// Makes an error of the first warning that `attempt` gives: what `run` can do
/// without may be just what is asked for.
pub(super) fn unwarned<T>(
    attempt: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let take = || {
        let mut noted = WARNINGS.lock().unwrap_or_else(|it| it.into_inner());
        std::mem::take(&mut *noted)
    };
    // Of something else, perhaps by the process that has forked this one.
    take();
    let done = attempt()?;
    match take().into_iter().next() {
        Some(failure) => Err(failure.into()),
        None => Ok(done),
    }
}

/// Runs `attempt` in a process of its own, which ends with it. That there can be
/// no such process is an answer, too.
pub(super) fn in_a_child(
    attempt: impl FnOnce() -> anyhow::Result<()>,
) -> Result<(), Failure> {
    let tried = || {
        let slate = Slate::new()?;
        let child = process::fork(|| {
            slate.note(|| {
                let_go_of_the_caller()?;
                attempt()
            });
            process::exit(0)
        })?;
        let end = wait_patiently(child)?;
        match slate.read() {
            Some(answer) => Ok(answer?),
            None => bail!("the attempt has ended with exit code {end}"),
        }
    };
    tried().map_err(|error| Failure::from(&error))
}

/// Waits for the end of `child`, and if need be, causes it.
fn wait_patiently(child: Pid) -> anyhow::Result<u8> {
    // It is blocked, as all signals are: see `main`.
    let changed = SigSet::from(Signal::SIGCHLD);
    let start = Instant::now();
    loop {
        if let Some((_, Change::Ended(end))) = process::reap(Some(child))? {
            return Ok(end.code());
        }
        let left = PATIENCE.saturating_sub(start.elapsed());
        if left.is_zero() {
            // What it has started goes with it.
            process::pass_on(libc::SIGKILL, child)?;
            return process::wait(child);
        }
        sys::signals::sigtimedwait(&changed, Some(left))?;
    }
}

/// Standard input, output and error stay what they are, as they are for `run`.
/// But step 6 takes the caller's terminal, and gives the pipes away: so this
/// leaves the terminal's session, and puts pipes of our own in their place.
fn let_go_of_the_caller() -> anyhow::Result<()> {
    sys::setsid()?;
    for stream in sys::standard_streams() {
        if is_pipe(stream)? {
            put_a_pipe(stream.as_raw_fd())?;
        }
    }
    Ok(())
}

/// Puts a pipe in the place of standard input, output and error.
pub(super) fn put_pipes() -> anyhow::Result<()> {
    for stream in sys::standard_streams() {
        put_a_pipe(stream.as_raw_fd())?;
    }
    Ok(())
}

/// Puts a pipe in the place of one of them. Its other end is closed: nobody will
/// read or write there.
fn put_a_pipe(stream: i32) -> anyhow::Result<()> {
    let pipe: (PipeReader, PipeWriter) =
        io::pipe().context("pipe2(O_CLOEXEC)")?;
    let (reader, writer) = pipe;
    match stream {
        libc::STDIN_FILENO => dup2_stdin(reader).context("dup2(pipe, 0)"),
        libc::STDOUT_FILENO => dup2_stdout(writer).context("dup2(pipe, 1)"),
        _ => dup2_stderr(writer).context("dup2(pipe, 2)"),
    }
}
