//! What a container in the background has in place of a terminal: nothing to
//! read, and two pipes to write to.

use std::{
    fs::{self, File},
    io::{Write, stderr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use anyhow::Context;
use common::{STARTED, Workload, sys};
use nix::{
    fcntl::OFlag,
    libc::{STDERR_FILENO, STDIN_FILENO, STDOUT_FILENO},
    unistd::{Gid, Pid, Uid},
};

use crate::screen::Screen;

/// Standard input, output and error of a container in the background, and the
/// word that it has got them.
pub(crate) struct Streams {
    null: OwnedFd,
    output: Output,
    /// Whoever has started it waits for a word here.
    told: OwnedFd,
}

/// Where what it prints goes.
pub(crate) enum Output {
    /// Of standard output and standard error: the end that is read from, and the
    /// one that is written to.
    Pipes([(OwnedFd, OwnedFd); 2]),
    /// To a terminal of its own.
    Screen(Screen),
}

/// The ends of the pipes that are read from.
pub(crate) type Ends = [OwnedFd; 2];

impl Output {
    pub(crate) fn pipes() -> anyhow::Result<Output> {
        Ok(Output::Pipes([sys::pipe2()?, sys::pipe2()?]))
    }
}

impl Streams {
    /// To be made before the container's process.
    pub(crate) fn new(
        told: OwnedFd,
        output: Output,
    ) -> anyhow::Result<Streams> {
        Ok(Streams {
            null: sys::open("/dev/null", OFlag::O_RDWR, 0)?,
            output,
            told,
        })
    }

    /// Lets `child`, whose ids are mapped, open its output by `/dev/stdout`,
    /// which asks whose the pipe is.
    pub(crate) fn give_to(&self, child: Pid) -> anyhow::Result<()> {
        let Output::Pipes(pipes) = &self.output else {
            return Ok(());
        };
        let user = Uid::from_raw(root_of(child, "uid_map")?);
        let group = Gid::from_raw(root_of(child, "gid_map")?);
        for (_, end) in pipes {
            sys::fchown(end, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// In the container's process, when all else is prepared: until now what
    /// went wrong was told to whoever has started it. Now the command will
    /// begin, or will not: that they hear as well.
    pub(crate) fn take(&self, workload: Workload) -> anyhow::Result<Workload> {
        match &self.output {
            Output::Pipes([(_, stdout), (_, stderr)]) => {
                sys::dup2_standard(&self.null, STDIN_FILENO)?;
                sys::dup2_standard(stdout, STDOUT_FILENO)?;
                sys::dup2_standard(stderr, STDERR_FILENO)?;
            }
            Output::Screen(screen) => {
                screen.take(workload.user_id()?)?;
                if screen.has_starter() {
                    // They look at it, and see what goes wrong.
                    sys::write(&self.told, STARTED)?;
                    return Ok(workload);
                }
            }
        }
        Ok(workload.awaited_by(sys::dup(&self.told)?))
    }

    /// Keeps only what the monitor needs of it: as long as it could write to the
    /// pipes, they would have no end.
    pub(crate) fn into_output(self) -> Result<Ends, Screen> {
        match self.output {
            Output::Pipes(pipes) => Ok(pipes.map(|(end, _)| end)),
            Output::Screen(screen) => Err(screen),
        }
    }

    /// What belongs in place of the terminal of the process that stays.
    pub(crate) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }
}

/// Waits for the word; `false` if it can't come any more. If there is another
/// word, that is why: it is passed on.
pub(crate) fn wait_for_start(hear: OwnedFd) -> anyhow::Result<bool> {
    let mut word = vec![0; STARTED.len()];
    let length = sys::read(&hear, &mut word)?;
    if word == STARTED.as_bytes() {
        return Ok(true);
    }
    word.truncate(length);
    sys::read_to_end(File::from(hear), &mut word)?;
    // A failure to print has nowhere left to go.
    let _ = stderr().write_all(&word);
    Ok(false)
}

/// Who root of the container is outside.
fn root_of(child: Pid, table: &str) -> anyhow::Result<u32> {
    let path = format!("/proc/{child}/{table}");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let outside = text.split_whitespace().nth(1);
    let id = outside.and_then(|it| it.parse().ok());
    id.with_context(|| format!("{path} is empty"))
}
