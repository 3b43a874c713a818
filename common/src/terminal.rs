//! The terminal of an interactive run.
//!
//! A shell has job control only in a process group of its own that owns the
//! terminal. So an interactive run does for the container what every shell does
//! for its jobs, by the same calls. See credentials(7) and tcsetpgrp(3).

use std::{
    cell::Cell,
    io::{self, Stdin},
};

use anyhow::Context;
use nix::{
    sys::{
        signal::{Signal, kill, raise},
        termios::{SetArg, Termios, tcgetattr, tcsetattr},
    },
    unistd::{Pid, getpgrp, isatty, setpgid, tcgetpgrp, tcsetpgrp},
};

use crate::report;

/// The terminal, while the container has it. It comes back when this is
/// dropped.
pub(crate) struct Terminal {
    stdin: Stdin,
    container: Pid,
    modes: Termios,
    given: Cell<bool>,
}

impl Terminal {
    /// Puts `child`, which waits at its gate, into a process group of its own
    /// and gives that group the terminal.
    ///
    /// Does nothing where the run is not interactive: standard input or output
    /// is no terminal (in `step01-uts run … | less` the terminal is `less`'s),
    /// or we are in the background ourselves. The container then stays in our
    /// process group.
    pub(crate) fn give_to(child: Pid) -> anyhow::Result<Option<Terminal>> {
        let stdin = io::stdin();
        let interactive = isatty(&stdin).unwrap_or(false)
            && isatty(io::stdout()).unwrap_or(false)
            && tcgetpgrp(&stdin) == Ok(getpgrp());
        if !interactive {
            return Ok(None);
        }
        let modes = tcgetattr(&stdin).context("tcgetattr(0)")?;
        setpgid(child, child).context("setpgid(child, child)")?;
        let given = Cell::new(false);
        let terminal = Terminal {
            stdin,
            container: child,
            modes,
            given,
        };
        terminal.give()?;
        Ok(Some(terminal))
    }

    /// The command was stopped (Ctrl-Z): stops us as well, so that the shell
    /// which has started us goes on. When it continues us (`fg`, `bg`), the
    /// command goes on too.
    pub(crate) fn suspend(&self) -> anyhow::Result<()> {
        self.take_back()?;
        raise(Signal::SIGSTOP).context("raise(SIGSTOP)")?;
        if tcgetpgrp(&self.stdin) == Ok(getpgrp()) {
            self.give()?;
        }
        // The group, for a command with several processes; and the child
        // itself, whose init passes it on to a shell in a group of its own.
        for continued in
            [Pid::from_raw(-self.container.as_raw()), self.container]
        {
            kill(continued, Signal::SIGCONT).context("kill(SIGCONT)")?;
        }
        Ok(())
    }

    fn give(&self) -> anyhow::Result<()> {
        tcsetpgrp(&self.stdin, self.container)
            .context("tcsetpgrp(0, child)")?;
        self.given.set(true);
        Ok(())
    }

    /// Takes the terminal back, if the container has it, in the modes that it
    /// had: a shell that was killed leaves it without echo.
    fn take_back(&self) -> anyhow::Result<()> {
        if !self.given.replace(false) {
            return Ok(());
        }
        tcsetpgrp(&self.stdin, getpgrp()).context("tcsetpgrp(0)")?;
        tcsetattr(&self.stdin, SetArg::TCSADRAIN, &self.modes)
            .context("tcsetattr(0)")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = self.take_back() {
            report::warning(&error.context("taking the terminal back"));
        }
    }
}
