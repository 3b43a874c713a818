//! The container's first process, as its parent has to do with it.

use std::process::ExitCode;

use anyhow::Context;
use nix::unistd::Pid;

use super::{Change, end, pass_on, reap};
use crate::{gate::Gate, signals, terminal::Terminal};

/// The container's process, seen from the parent.
///
/// If it is dropped before [`Child::wait`] (because the parent has failed), the
/// process is killed.
pub struct Child {
    pid: Pid,
    gate: Gate,
    terminal: Option<Terminal>,
    running: bool,
}

impl Child {
    pub(super) fn new(pid: Pid, gate: Gate) -> anyhow::Result<Child> {
        let mut child = Child {
            pid,
            gate,
            terminal: None,
            running: true,
        };
        child.terminal = Terminal::give_to(pid)
            .context("giving the terminal to the container")?;
        if child.terminal.is_some() {
            child.gate.listen()?;
        }
        Ok(child)
    }

    /// The process id, as we see it; in a PID namespace of its own the process
    /// itself sees another one.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Opens the gate: everything that the parent has to prepare is done.
    pub fn start(&self) -> anyhow::Result<()> {
        self.gate.open()
    }

    /// Waits until the process ends. Passes on the signals that we get, and
    /// stops when the container's command is stopped.
    ///
    /// Returns the exit code of the process, or 128+n when signal n killed it.
    pub fn wait(mut self) -> anyhow::Result<ExitCode> {
        loop {
            match signals::next()? {
                signals::Event::Forward(signal) => pass_on(signal, self.pid)?,
                signals::Event::ChildSpoke if self.gate.heard() => {
                    self.suspend()?;
                }
                signals::Event::ChildSpoke => {}
                signals::Event::ChildChanged => match reap(Some(self.pid))? {
                    Some((_, Change::Ended(code))) => {
                        self.running = false;
                        return Ok(ExitCode::from(code));
                    }
                    Some((_, Change::Stopped)) => self.suspend()?,
                    None => {}
                },
            }
        }
    }

    fn suspend(&self) -> anyhow::Result<()> {
        self.terminal.as_ref().map_or(Ok(()), Terminal::suspend)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.running {
            end(self.pid);
        }
    }
}
