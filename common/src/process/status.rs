//! What has become of a child.

use libc::c_int;
use nix::{errno::Errno, sys::signal::Signal, unistd::Pid};

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
    killed_by: Option<c_int>,
}

impl End {
    /// The exit code; 128+n says that signal n killed it.
    pub fn code(self) -> u8 {
        match self.killed_by {
            // The last signal is 64, or 127 on MIPS.
            Some(signal) => 128 + (signal & 0x7f) as u8,
            None => self.exited,
        }
    }

    /// Whether it was killed by `signal`.
    pub fn is_by(self, signal: Signal) -> bool {
        self.killed_by == Some(signal as c_int)
    }
}

/// Asks for a change of `child`, or of any child. Returns `None` when there is
/// none, which WNOHANG makes possible.
///
/// nix has the same, but refuses the signals of real time, for which it has no
/// names, when the zombie is gone already. See wait(2).
pub(super) fn wait4(
    child: Option<Pid>,
    flags: c_int,
) -> nix::Result<Option<(Pid, Change)>> {
    let any = -1;
    let mut status = 0;
    // SAFETY: the call fills an integer, and takes no other pointer.
    let pid = unsafe {
        libc::waitpid(child.map_or(any, Pid::as_raw), &raw mut status, flags)
    };
    let pid = Pid::from_raw(Errno::result(pid)?);
    let change = if pid.as_raw() == 0 {
        return Ok(None);
    } else if libc::WIFSTOPPED(status) {
        Change::Stopped
    } else {
        Change::Ended(End {
            // Eight bits of the status, by definition.
            exited: libc::WEXITSTATUS(status) as u8,
            killed_by: libc::WIFSIGNALED(status)
                .then(|| libc::WTERMSIG(status)),
        })
    };
    Ok(Some((pid, change)))
}
