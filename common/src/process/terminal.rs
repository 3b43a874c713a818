//! The terminal that a container is started at.
//!
//! A shell has job control only in a process group of its own that owns the
//! terminal. So an interactive run does for the container what every shell does
//! for its jobs, by the same calls. Any other container gets a session of its
//! own, in which there is no terminal. See credentials(7) and tcsetpgrp(3).

use std::{
    cell::Cell,
    io::{IsTerminal, stdin, stdout},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use libc::c_int;
use nix::{
    fcntl::OFlag,
    sys::termios::{FlowArg, SetArg, Termios},
    unistd::{Pid, getpgrp, tcgetpgrp},
};

use super::{EndsWith, Stat};
use crate::{errors, host::files::by_number, sys};

/// The controlling terminal of our session, if it is our standard input, output
/// or error, and so comes into the container with it.
///
/// When this is dropped, the terminal is ours, in the state that it had: a
/// shell that was killed leaves it without echo.
pub(super) struct Terminal {
    file: OwnedFd,
    state: State,
    /// The container gets the terminal, and has it until it ends.
    shared: bool,
    /// The child in the container whose process group has got it.
    given_to: Cell<Option<Pid>>,
    /// The process group in the container that had it when we were stopped.
    last: Cell<Option<Pid>>,
}

/// What a container can change of the terminal, and leave so.
struct State {
    modes: Termios,
    /// See TIOCGETD in ioctl_tty(2).
    line_discipline: c_int,
    /// Of the open files that are standard input, output and error, which others
    /// have as well. See F_GETFL in fcntl(2).
    flags: Vec<(BorrowedFd<'static>, OFlag)>,
}

impl Terminal {
    /// Looks for it. To be called before the container's process exists. One that
    /// outlives us can't have it: it is ours.
    pub(super) fn find(
        ends_with: EndsWith,
    ) -> anyhow::Result<Option<Terminal>> {
        let files = sys::standard_streams();
        // Anything else than our controlling terminal is ENOTTY.
        let Some(file) = files.iter().find(|file| tcgetpgrp(file).is_ok())
        else {
            return Ok(None);
        };
        let is_ours = tcgetpgrp(file) == Ok(getpgrp());
        let (file, state) = (sys::dup(file)?, State::of(file, &files)?);
        // Otherwise what is typed is for somebody else: for the shell, if we are
        // in the background; for `less`, in `step01-uts run … | less`. Job
        // control would only stop a container that reads from it, and not one
        // that takes it: see tcsetpgrp(3) about those who block SIGTTOU.
        let is_typed = stdin().is_terminal();
        let shared = is_typed
            && is_ours
            && stdout().is_terminal()
            && ends_with == EndsWith::Creator;
        if is_typed && !shared {
            let null = sys::open("/dev/null", OFlag::O_RDONLY, 0)?;
            replace(stdin(), null)?;
        }
        Ok(Some(Terminal {
            file,
            state,
            shared,
            given_to: Cell::new(None),
            last: Cell::new(None),
        }))
    }

    /// In the container's process: a session of its own, if it does not share
    /// our terminal.
    ///
    /// PID namespaces do not part sessions and process groups: `kill(0)` would
    /// reach the whole group of whoever has started us, and `/dev/tty` would be
    /// their terminal. See setsid(2).
    pub(super) fn part(terminal: &Option<Terminal>) -> anyhow::Result<()> {
        if terminal.as_ref().is_some_and(|terminal| terminal.shared) {
            return Ok(());
        }
        sys::setsid()?;
        // By their numbers: to have a buffer for it is more than is needed here.
        let [_, output, errors] = sys::standard_streams();
        close_to_reading(output)?;
        close_to_reading(errors)
    }

    /// Puts `child`, which waits at its gate, into a process group of its own,
    /// and gives that group the terminal, if we have it. Does nothing for a
    /// child in a session of its own.
    pub(super) fn share_with(&self, child: Pid) -> anyhow::Result<()> {
        if !self.shared {
            return Ok(());
        }
        sys::setpgid(child, child)?;
        self.give_to(child)
    }

    /// Whether the container shares it: then a container that stops is a job
    /// that stops.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Whether our own process group has it.
    pub(super) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.file) == Ok(getpgrp())
    }

    /// Gives the terminal, if it is ours, to the process group in the container
    /// that had it before, or else to that of `child`.
    pub(super) fn give_to(&self, child: Pid) -> anyhow::Result<()> {
        if !self.shared || !self.is_ours() {
            return Ok(());
        }
        let given = match self.last.take() {
            // That of a shell with job control, which has gone meanwhile.
            Some(last) => sys::tcsetpgrp(&self.file, last)
                .or_else(|_| sys::tcsetpgrp(&self.file, child)),
            None => sys::tcsetpgrp(&self.file, child),
        };
        given?;
        self.given_to.set(Some(child));
        Ok(())
    }

    /// Whether somebody else in our process group has probably set its modes.
    /// While the container shares it, that can only be the container.
    fn is_in_use(&self) -> anyhow::Result<bool> {
        // In another line discipline even the question may wait for ever.
        if self.shared
            || sys::ioctl_tiocgetd(&self.file)? != self.state.line_discipline
        {
            return Ok(false);
        }
        let modes = sys::tcgetattr(&self.file)?;
        Ok(modes != self.state.modes && Stat::others_in_group(getpgrp()))
    }

    /// Takes the terminal back, if the container has it, in the state that it
    /// had.
    pub(super) fn take_back(&self) -> anyhow::Result<()> {
        // It may have been closed meanwhile.
        let holder = tcgetpgrp(&self.file).ok();
        // A shell may have taken it, as we were stopped, or have lost our own.
        if let (Some(child), Some(holder)) = (self.given_to.take(), holder)
            && Stat::descends(holder, child)
        {
            self.last.set(Some(holder));
            sys::tcsetpgrp(&self.file, getpgrp())?;
        }
        // Another job may have it, in the state that it needs; or another
        // program of our own, such as `less` behind us.
        if !self.is_ours() || self.is_in_use()? {
            return Ok(());
        }
        self.state.restore(self.file.as_fd())
    }
}

impl State {
    fn of(
        file: &BorrowedFd,
        all: &[BorrowedFd<'static>],
    ) -> anyhow::Result<State> {
        let terminals = all.iter().filter(|file| file.is_terminal());
        let flags = terminals.map(|file| Ok((*file, sys::fcntl_getfl(file)?)));
        Ok(State {
            modes: sys::tcgetattr(file)?,
            line_discipline: sys::ioctl_tiocgetd(file)?,
            flags: flags.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Everything else first that would keep the modes from being set, or what
    /// is typed from being read.
    fn restore(&self, file: BorrowedFd) -> anyhow::Result<()> {
        // To set the one that it has would be EAGAIN for who reads from it.
        if sys::ioctl_tiocgetd(file)? != self.line_discipline {
            sys::ioctl_tiocsetd(file, self.line_discipline)?;
        }
        sys::ioctl_tiocnxcl(file)?;
        sys::tcflow(file, FlowArg::TCOON)?;
        for (file, flags) in &self.flags {
            sys::fcntl_setfl(file, *flags)?;
        }
        Ok(sys::tcsetattr(file, SetArg::TCSADRAIN, &self.modes)?)
    }
}

/// Opens `file` anew, only to be written to, if it is a terminal: a shell gives
/// its jobs one file for all three, and who has it as standard error could read
/// what is typed. Job control would stop that only in the terminal's session.
fn close_to_reading(file: impl AsFd + IsTerminal) -> anyhow::Result<()> {
    let mode = sys::fcntl_getfl(&file)? & OFlag::O_ACCMODE;
    if !file.is_terminal() || mode != OFlag::O_RDWR {
        return Ok(());
    }
    let path = by_number(&file);
    let again = match sys::open(path, OFlag::O_WRONLY | OFlag::O_NOCTTY, 0) {
        Ok(again) => again,
        // After su(1) it belongs to somebody else.
        Err(error) => {
            let error = anyhow::Error::from(error)
                .context("the container can read what is typed here");
            errors::warning(&error);
            return Ok(());
        }
    };
    replace(file, again)
}

/// Puts `other` in the place of standard input, output or error.
fn replace(standard: impl AsFd, other: OwnedFd) -> anyhow::Result<()> {
    let number = standard.as_fd().as_raw_fd();
    // SAFETY: the number stays open, for whoever uses it in this program.
    Ok(unsafe { sys::dup2(other, number) }?)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = self.take_back() {
            errors::warning(&error.context("taking the terminal back"));
        }
    }
}
