//! Creating the container's first process, with all that it is born with.

use std::{convert::Infallible, os::fd::BorrowedFd};

use anyhow::Context;
use nix::{errno::Errno, fcntl::OFlag, sched::CloneFlags, unistd::ForkResult};

use super::{
    Child, EndsWith, child::Kind, fork::run_to_end, gate, signals,
    terminal::Terminal,
};
use crate::sys;

/// The container's process to be: what it shall be born with.
pub struct NewProcess<'fd> {
    /// The namespaces that are made for it. See namespaces(7).
    pub flags: CloneFlags,
    /// The cgroup that it is born in: an open directory of the cgroup v2 file
    /// system. See CLONE_INTO_CGROUP in clone(2). Where clone3(2) is refused,
    /// the process moves there before it runs anything else.
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// Whose end is its end.
    pub ends_with: EndsWith,
    /// It is no part of what it does: it stands outside for a process of its
    /// own, passes on the signals that it gets, and is never stopped itself.
    pub stands_for_another: bool,
}

impl Default for NewProcess<'_> {
    /// A process as fork(2) makes it.
    fn default() -> Self {
        NewProcess {
            flags: CloneFlags::empty(),
            cgroup: None,
            ends_with: EndsWith::default(),
            stands_for_another: false,
        }
    }
}

impl NewProcess<'_> {
    /// Creates the process. It waits at its gate until [`Child::start`], and
    /// then runs `container`, a function that ends in an exec and so returns
    /// only an error. The error is printed, and the process exits with the code
    /// that belongs to it.
    ///
    /// `container` runs in the new process, on a copy of our memory: it sees
    /// what we have prepared, and we see nothing of what it changes.
    ///
    /// The caller must have only one thread: the others would be missing in the
    /// copy, perhaps with a lock in hand.
    pub fn spawn(
        &self,
        container: impl FnOnce() -> anyhow::Result<Infallible>,
    ) -> anyhow::Result<Child> {
        signals::block()?;
        let terminal = Terminal::find(self.ends_with)
            .context("looking for the terminal of this session")?;
        let (gate, childs_end) =
            gate::new().context("creating the container's process")?;
        let mut still_to_join = None;
        // SAFETY: we have one thread, by our own precondition, and no flag is
        // CLONE_VM.
        let process = match unsafe { sys::clone3(self.flags, self.cgroup) } {
            // Docker refuses clone3(2) as if the kernel did not have it: its
            // filter can't see the flags. Then we do what every C library does;
            // the old call has the flags of all namespaces, too.
            Err(error) if error.errno == Errno::ENOSYS => {
                still_to_join = self.cgroup;
                // SAFETY: as above.
                unsafe { sys::clone(self.flags) }
            }
            process => process,
        };
        match process.context("creating the container's process")? {
            ForkResult::Child => {
                // Or the hang-up would never come.
                drop(gate);
                run_to_end(|| {
                    // Now, so that a Ctrl-C reaches it only through us.
                    Terminal::part(&terminal)
                        .context("leaving the session of the caller")?;
                    gate::wait(childs_end, self.ends_with)?;
                    still_to_join
                        .map_or(Ok(()), join)
                        .context("joining the cgroup")?;
                    container()
                })
            }
            ForkResult::Parent { child } => {
                let kind = if self.stands_for_another {
                    Kind::Deputy
                } else if self.flags.contains(CloneFlags::CLONE_NEWPID) {
                    Kind::Init
                } else {
                    Kind::Command
                };
                Child::new(child, kind, self.ends_with, gate, terminal)
            }
        }
    }
}

/// Moves this process, "0", into `cgroup`. To be born there is better: on an
/// idle machine this write waits for milliseconds, for a grace period of the
/// kernel's read-copy-update.
fn join(cgroup: BorrowedFd) -> sys::Result<()> {
    let procs = sys::openat(cgroup, "cgroup.procs", OFlag::O_WRONLY, 0)?;
    sys::write(procs, "0")
}
