//! The terminal that a container is started at.
//!
//! A shell has job control only in a process group of its own that owns the
//! terminal. So an interactive run does for the container what every shell does
//! for its jobs, by the same calls. Any other container gets a session of its
//! own, in which there is no terminal. See credentials(7) and tcsetpgrp(3).

use std::{
    cell::Cell,
    io::{stdin, stdout},
    os::fd::BorrowedFd,
};

use anyhow::Context;
use nix::{
    sys::termios::{SetArg, Termios, tcgetattr, tcsetattr},
    unistd::{Pid, getpgrp, isatty, setpgid, setsid, tcgetpgrp, tcsetpgrp},
};

use crate::report;

/// The controlling terminal of our session, if it is our standard input, output
/// or error, and so comes into the container with it.
///
/// When this is dropped, the terminal is ours, in the modes that it had: a
/// shell that was killed leaves it without echo.
pub(crate) struct Terminal {
    file: BorrowedFd<'static>,
    modes: Termios,
    /// The container gets the terminal, now or when we come to the foreground.
    shared: bool,
    given: Cell<bool>,
}

impl Terminal {
    /// Looks for it. To be called before the container's process exists.
    pub(crate) fn find() -> anyhow::Result<Option<Terminal>> {
        // SAFETY: nothing in this program closes these three, and where they
        // were closed at the start, Rust's runtime opened /dev/null on them.
        let files = [0, 1, 2].map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
        // Anything else than our controlling terminal is ENOTTY.
        let Some(file) = files.iter().find(|file| tcgetpgrp(file).is_ok())
        else {
            return Ok(None);
        };
        let mut terminal = Terminal {
            file: *file,
            modes: tcgetattr(file).context("tcgetattr()")?,
            shared: true,
            given: Cell::new(false),
        };
        // In `step01-uts run … | less` the terminal is `less`'s. In the
        // background the kernel's job control sees to it that the container
        // does not read what is typed for others: it stops whoever tries, but
        // only in our session.
        let interactive = isatty(stdin())? && isatty(stdout())?;
        terminal.shared = interactive || !terminal.is_ours();
        Ok(Some(terminal))
    }

    /// In the container's process: a session of its own, if it does not share
    /// our terminal.
    ///
    /// PID namespaces do not part sessions and process groups: `kill(0)` would
    /// reach the whole group of whoever has started us, and `/dev/tty` would be
    /// their terminal. See setsid(2).
    pub(crate) fn part(terminal: &Option<Terminal>) -> anyhow::Result<()> {
        if !terminal.as_ref().is_some_and(|terminal| terminal.shared) {
            setsid().context("setsid()")?;
        }
        Ok(())
    }

    /// Puts `child`, which waits at its gate, into a process group of its own,
    /// and gives that group the terminal, if we have it. Does nothing for a
    /// child in a session of its own.
    pub(crate) fn share_with(&self, child: Pid) -> anyhow::Result<()> {
        if !self.shared {
            return Ok(());
        }
        setpgid(child, child).context("setpgid(child, child)")?;
        self.give_to(child)
    }

    /// Whether the container shares it: then a container that stops is a job
    /// that stops.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Whether our own process group has it.
    pub(crate) fn is_ours(&self) -> bool {
        tcgetpgrp(self.file) == Ok(getpgrp())
    }

    /// Gives the process group of `child` the terminal, if it is ours.
    pub(crate) fn give_to(&self, child: Pid) -> anyhow::Result<()> {
        if self.shared && self.is_ours() {
            tcsetpgrp(self.file, child).context("tcsetpgrp(child)")?;
            self.given.set(true);
        }
        Ok(())
    }

    /// Takes the terminal back, if the container has it, in the modes that it
    /// had.
    pub(crate) fn take_back(&self) -> anyhow::Result<()> {
        // It may have been closed meanwhile.
        let still_there = tcgetpgrp(self.file).is_ok();
        if self.given.replace(false) && still_there {
            tcsetpgrp(self.file, getpgrp()).context("tcsetpgrp()")?;
        }
        // Or another job has it, in the modes that it needs.
        if self.is_ours() {
            tcsetattr(self.file, SetArg::TCSADRAIN, &self.modes)
                .context("tcsetattr()")?;
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = self.take_back() {
            report::warning(&error.context("taking the terminal back"));
        }
    }
}
