//! Children that try something, and tell their parent what came of it.

use std::{
    fmt,
    fs::File,
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::fd::AsFd,
    sync::Mutex,
};

use anyhow::Context;
use common::{
    errors::{self, Advice},
    process, sys,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout},
};

/// How long an attempt may take, in milliseconds. A file system that has lost
/// its server lets one wait for ever.
const PATIENCE: u16 = 5000;

/// What a child tells of a success.
const WORKS: &str = "works";

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
    fn to_lines(&self) -> String {
        match &self.advice {
            Some(Advice { cause, fix, page }) => {
                format!("{}\n{cause}\n{fix}\n{page}", self.message)
            }
            None => self.message.clone(),
        }
    }

    fn parse(text: &str) -> Failure {
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
pub(super) fn note(warning: &anyhow::Error) {
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

/// Runs `attempt` in a process of its own, which ends with it.
pub(super) fn in_a_child(
    attempt: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Result<(), Failure>> {
    let (from_child, to_parent) = io::pipe().context("pipe2(O_CLOEXEC)")?;
    let child = process::fork(|| {
        tell(to_parent, || {
            let_go_of_the_caller()?;
            attempt()
        })
    })?;
    let mut ends = [PollFd::new(from_child.as_fd(), PollFlags::POLLIN)];
    let said = poll(&mut ends, PollTimeout::from(PATIENCE));
    if said.context("poll(child)")? == 0 {
        // What it has started goes with it.
        match kill(child, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            killed => killed.context("kill(child, SIGKILL)")?,
        }
    }
    let answer = hear(from_child);
    let end = process::wait(child)?;
    answer.map(|answer| match answer {
        Some(answer) => answer,
        None => Err(Failure {
            message: format!("the attempt has ended with exit code {end}"),
            advice: None,
        }),
    })
}

/// Leaves the caller's terminal, and the files on standard input, output and
/// error: step 6 gives the pipes among them to its container's root.
fn let_go_of_the_caller() -> anyhow::Result<()> {
    sys::setsid()?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.context(r#"open("/dev/null", O_RDWR)"#)?;
    dup2_stdin(&null).context("dup2(null, 0)")?;
    dup2_stdout(&null).context("dup2(null, 1)")?;
    dup2_stderr(&null).context("dup2(null, 2)")
}

/// In a child: runs `attempt`, tells its parent what has come of it, and ends.
pub(super) fn tell<T>(
    mut parent: PipeWriter,
    attempt: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let text = match attempt() {
        Ok(()) => WORKS.into(),
        Err(error) => Failure::from(&error).to_lines(),
    };
    parent.write_all(text.as_bytes()).context("write(parent)")?;
    process::exit(0)
}

/// What a child has told, if it has.
pub(super) fn hear(
    mut child: PipeReader,
) -> anyhow::Result<Option<Result<(), Failure>>> {
    let mut text = String::new();
    child.read_to_string(&mut text).context("read(child)")?;
    Ok(match &*text {
        "" => None,
        WORKS => Some(Ok(())),
        text => Some(Err(Failure::parse(text))),
    })
}
