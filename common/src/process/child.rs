//! The container's first process, as its parent has to do with it.

use std::{cell::Cell, process::ExitCode, sync::OnceLock};

use anyhow::{Context, ensure};
use libc::c_int;
use nix::{
    sys::signal::Signal,
    unistd::{Pid, getpid},
};

use super::{
    Change, End, EndsWith, News, end,
    gate::Gate,
    pass_on, reap,
    signals::{self, Event},
    terminal::Terminal,
};
use crate::{errors, sys};

/// The container's process, seen from the parent.
///
/// If it is dropped before [`Child::wait`] (because the parent has failed), the
/// process is killed.
pub struct Child {
    pid: Pid,
    kind: Kind,
    ends_with: EndsWith,
    gate: Gate,
    terminal: Option<Terminal>,
    running: bool,
    /// It was told that its terminal is gone.
    hung_up: Cell<bool>,
    news: Vec<News>,
}

/// What the process is, for who sends it signals.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The command itself: in step 1.
    Command,
    /// From step 2 on: it is in the container with the command.
    Init,
    /// It stands outside for a command in a container.
    Deputy,
}

impl Child {
    pub(super) fn new(
        pid: Pid,
        kind: Kind,
        ends_with: EndsWith,
        gate: Gate,
        terminal: Option<Terminal>,
    ) -> anyhow::Result<Child> {
        let child = Child {
            pid,
            kind,
            ends_with,
            gate,
            terminal,
            running: true,
            hung_up: Cell::new(false),
            news: Vec::new(),
        };
        if let Some(terminal) = &child.terminal {
            terminal
                .share_with(pid)
                .context("giving the terminal to the container")?;
        }
        child.gate.listen()?;
        Ok(child)
    }

    /// The process id, as we see it; in a PID namespace of its own the process
    /// itself sees another one.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Gives the process to somebody else: its gate, which is still closed or
    /// was opened, is returned, and it is not killed when we are gone.
    ///
    /// Whoever waits for it from now on must be its parent, or does so by
    /// pidfd_open(2).
    ///
    /// # Errors
    /// It ends with us: with the gate in other hands, it would not see that we
    /// are gone.
    pub fn hand_over(mut self) -> anyhow::Result<Gate> {
        ensure!(
            self.ends_with == EndsWith::Nobody,
            "a process that ends with us can't be given to others"
        );
        let gate = self.gate.for_another()?;
        self.running = false;
        Ok(gate)
    }

    /// Opens the gate: everything that the parent has to prepare is done.
    pub fn start(&self) -> anyhow::Result<()> {
        self.gate.open()
    }

    /// Waits until the process ends. Passes on the signals that we get, and
    /// stops when the container's command is stopped.
    ///
    /// Returns the exit code of the process, or 128+n when signal n killed it.
    pub fn wait(self) -> anyhow::Result<ExitCode> {
        self.wait_and(|| Ok(()))
    }

    /// Waits in the same way, for a parent with more children: whenever one of
    /// them may have changed, `look_after_others` is called.
    pub fn wait_and(
        mut self,
        mut look_after_others: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        loop {
            match signals::next()? {
                // Ctrl-Z, where the container does not hear it.
                Event::Forward(libc::SIGTSTP)
                | Event::ForwardToGroup(libc::SIGTSTP) => {
                    self.stop()?;
                    self.suspend()?;
                }
                // A shell that ends hangs up on its jobs, each of them as a whole.
                Event::Forward(libc::SIGHUP) if self.kind == Kind::Command => {
                    pass_on(libc::SIGHUP, self.group())?;
                }
                Event::Forward(signal) => pass_on(signal, self.pid)?,
                Event::ForwardToGroup(signal) => {
                    self.pass_on_to_group(signal)?;
                }
                Event::ChildSpoke => {
                    if self.hear().contains(&News::Stopped) {
                        self.has_stopped()?;
                    }
                }
                Event::ChildChanged => match reap(Some(self.pid))? {
                    Some((_, Change::Ended(end))) => {
                        self.running = false;
                        self.hear();
                        self.note_interrupt(end);
                        return Ok(ExitCode::from(end.code()));
                    }
                    Some((_, Change::Stopped)) => self.has_stopped()?,
                    None => look_after_others()?,
                },
            }
        }
    }

    /// The container's process group, for kill(2): the child is its first.
    fn group(&self) -> Pid {
        Pid::from_raw(-self.pid.as_raw())
    }

    /// Stops the command. A deputy that was stopped could not wait for it, if it
    /// is killed then, and the container's number 1 ends only when somebody has.
    fn stop(&self) -> anyhow::Result<()> {
        match self.kind {
            Kind::Deputy => signals::queue_for_group(libc::SIGTSTP, self.pid),
            _ => pass_on(libc::SIGSTOP, self.group()),
        }
    }

    /// The container is not in our process group, so it got nothing of what our
    /// terminal has sent. Its init is, with the command, and must not take what
    /// it gets for meant for the command alone.
    fn pass_on_to_group(&self, signal: c_int) -> anyhow::Result<()> {
        if self.kind == Kind::Command {
            return pass_on(signal, self.group());
        }
        signals::queue_for_group(signal, self.pid)
    }

    /// What the child says now. All that it has ever said stays in `news`.
    fn hear(&mut self) -> Vec<News> {
        let news = self.gate.news();
        self.news.extend(&news);
        news
    }

    /// The command was stopped: by Ctrl-Z, or since it has used the terminal
    /// from the background. In a session of its own that concerns nobody else.
    fn has_stopped(&self) -> anyhow::Result<()> {
        let Some(terminal) = &self.terminal else {
            return Ok(());
        };
        if !terminal.is_shared() {
            return Ok(());
        }
        // A shell gives us the terminal by `fg`, and does not tell us.
        match terminal.is_ours() {
            true => self.resume(),
            false => self.suspend(),
        }
    }

    /// Stops us as well, so that the shell which has started us goes on. When
    /// it continues us (`fg`, `bg`), the container goes on too.
    fn suspend(&self) -> anyhow::Result<()> {
        if let Some(terminal) = &self.terminal {
            terminal.take_back()?;
        }
        let was_stopped = signals::stop_as_a_job()?;
        let has_lost_it =
            |terminal: &Terminal| terminal.is_shared() && !terminal.is_ours();
        match &self.terminal {
            Some(terminal) if !was_stopped && has_lost_it(terminal) => {
                self.hang_up()
            }
            _ => self.resume(),
        }
    }

    /// There is no shell any more that could continue us, and somebody else has
    /// the terminal: to go on would be to stop again at once. Does what the
    /// kernel does for a stopped job that has lost its shell, and once only. See
    /// setpgid(2), on orphaned process groups.
    fn hang_up(&self) -> anyhow::Result<()> {
        if self.hung_up.replace(true) {
            return pass_on(libc::SIGKILL, self.pid);
        }
        pass_on(libc::SIGHUP, self.group())?;
        pass_on(libc::SIGCONT, self.group())
    }

    fn resume(&self) -> anyhow::Result<()> {
        if let Some(terminal) = &self.terminal {
            terminal.give_to(self.pid)?;
        }
        // The group, for a command with several processes; its init is in it,
        // and passes it on to a shell in a group of its own.
        pass_on(libc::SIGCONT, self.group())
    }

    /// Remembers, for the end of this program, that a SIGINT has ended the
    /// command.
    fn note_interrupt(&self, end: End) {
        let by_itself = self.kind == Kind::Command && end.is_by(Signal::SIGINT);
        if !by_itself && !self.news.contains(&News::EndedByInterrupt) {
            return;
        }
        let shared = self.terminal.as_ref().is_some_and(Terminal::is_shared);
        let by_key = by_itself || self.news.contains(&News::CtrlC);
        // Only the container has had the Ctrl-C, as it had the terminal.
        let whom = match shared && by_key {
            true => Pid::from_raw(0),
            false => getpid(),
        };
        let _ = INTERRUPTED.set(whom);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.running {
            end(self.pid);
        }
    }
}

/// Who is to get the SIGINT that has ended the command: 0 is our process group.
static INTERRUPTED: OnceLock<Pid> = OnceLock::new();

/// Ends this program by SIGINT, if the command has ended by it, or if one comes
/// when there is no command any more; otherwise returns `code`.
///
/// A shell that runs a loop ends it on Ctrl-C only when the command has died of
/// it, and when the shell got it as well: an exit code of 130 is any command's
/// right.
pub(crate) fn end_as_the_command(code: ExitCode) -> ExitCode {
    let interrupt = || {
        if let Some(whom) = INTERRUPTED.get() {
            sys::signals::kill(*whom, libc::SIGINT)?;
        }
        signals::give_in_to(Signal::SIGINT)
    };
    if let Err(error) = interrupt() {
        errors::warning(&error.context("ending by SIGINT"));
    }
    // Whoever has started us may have us ignore it.
    code
}
