//! What has become of a child.

use libc::c_int;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::sys;

/// What has happened to a child.
pub enum Change {
    /// It has ended.
    Ended(End),
    /// It was stopped by a signal, such as that of Ctrl-Z.
    Stopped,
}

/// How a child has ended.
#[derive(Clone, Copy)]
pub struct End {
    exited: u8,
    killed_by: Option<u8>,
}

impl End {
    /// The exit code; 128+n says that signal n killed it.
    pub fn code(self) -> u8 {
        match self.killed_by {
            // The last signal is 64, or 127 on MIPS.
            Some(signal) => 128 + signal,
            None => self.exited,
        }
    }

    /// Whether it was killed by `signal`.
    pub fn is_by(self, signal: Signal) -> bool {
        self.killed_by.map(c_int::from) == Some(signal as c_int)
    }
}

/// Takes note of one child that has ended or stopped: `child`, or any. Returns
/// `None` when there is none at the moment.
///
/// A child that has ended stays in the process table, as a zombie, until its
/// parent does this. See wait(2).
pub fn reap(child: Option<Pid>) -> anyhow::Result<Option<(Pid, Change)>> {
    match wait4(child, libc::WNOHANG | libc::WUNTRACED) {
        // Other children of init may all be gone.
        Err(error) if error.errno == Errno::ECHILD => Ok(None),
        change => Ok(change?),
    }
}

/// Waits until `child` has ended, and returns its exit code; 128+n says that
/// signal n killed it.
pub fn wait(child: Pid) -> anyhow::Result<u8> {
    match wait4(Some(child), 0)? {
        Some((_, Change::Ended(end))) => Ok(end.code()),
        _ => unreachable!("without flags only an end is told"),
    }
}

/// Kills `child` and waits for its end, if it is still there.
pub(crate) fn end(child: Pid) {
    // Both fail only if the process is gone already.
    let _ = kill(child, Signal::SIGKILL);
    let _ = wait4(Some(child), 0);
}

/// Asks for a change of `child`, or of any child. Returns `None` when there is
/// none, which WNOHANG makes possible.
#[track_caller]
fn wait4(
    child: Option<Pid>,
    options: c_int,
) -> sys::Result<Option<(Pid, Change)>> {
    let any = Pid::from_raw(-1);
    let (pid, status) = sys::wait4(child.unwrap_or(any), options)?;
    let change = if pid.as_raw() == 0 {
        return Ok(None);
    } else if libc::WIFSTOPPED(status) {
        Change::Stopped
    } else {
        // Both are bits of the status: eight of them, and seven.
        let byte = |bits| u8::try_from(bits).expect("at most eight bits");
        Change::Ended(End {
            exited: byte(libc::WEXITSTATUS(status)),
            killed_by: libc::WIFSIGNALED(status)
                .then(|| byte(libc::WTERMSIG(status))),
        })
    };
    Ok(Some((pid, change)))
}
