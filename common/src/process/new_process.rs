//! Creating the container's first process, with all that it is born with.

use std::{
    convert::Infallible,
    os::fd::{AsRawFd, BorrowedFd},
};

use anyhow::Context;
use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sched::CloneFlags,
    sys::stat::Mode,
    unistd::{ForkResult, Pid, write},
};

use super::{Child, fork::run_to_end, gate, signals, terminal::Terminal};

/// From <linux/sched.h>. The flags of clone3(2) have 64 bits, and the crate
/// `libc` declares this one too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The container's process to be: what it shall be born with.
pub struct NewProcess<'fd> {
    /// The namespaces that are made for it. See namespaces(7).
    pub flags: CloneFlags,
    /// The cgroup that it is born in: an open directory of the cgroup v2 file
    /// system. See CLONE_INTO_CGROUP in clone(2). Where clone3(2) is refused,
    /// the process moves there before it runs anything else.
    pub cgroup: Option<BorrowedFd<'fd>>,
}

impl Default for NewProcess<'_> {
    /// A process as fork(2) makes it.
    fn default() -> Self {
        NewProcess {
            flags: CloneFlags::empty(),
            cgroup: None,
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
        let terminal = Terminal::find()
            .context("looking for the terminal of this session")?;
        let (gate, childs_end) =
            gate::new().context("creating the container's process")?;
        let mut still_to_join = None;
        let process = match self.clone3() {
            // Docker refuses clone3(2) as if the kernel did not have it: its
            // filter can't see the flags. Then we do what every C library does;
            // the old call has the flags of all namespaces, too.
            Err(error) if error.downcast_ref() == Some(&Errno::ENOSYS) => {
                still_to_join = self.cgroup;
                clone(self.flags)
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
                    gate::wait(childs_end)?;
                    still_to_join
                        .map_or(Ok(()), join)
                        .context("joining the cgroup")?;
                    container()
                })
            }
            ForkResult::Parent { child } => {
                let has_init = self.flags.contains(CloneFlags::CLONE_NEWPID);
                Child::new(child, has_init, gate, terminal)
            }
        }
    }

    /// clone3(2) without a stack: returns twice, like fork(2).
    fn clone3(&self) -> anyhow::Result<ForkResult> {
        // SAFETY: clone_args is a plain structure, for which zeros are valid
        // and mean "not used".
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        let mut flags = self.flags.bits() as u64;
        if let Some(cgroup) = self.cgroup {
            flags |= CLONE_INTO_CGROUP;
            args.cgroup = cgroup.as_raw_fd() as u64;
        }
        args.flags = flags;
        args.exit_signal = libc::SIGCHLD as u64;

        // SAFETY: no CLONE_VM, so the child gets a copy of our memory and needs
        // no stack of its own; we have one thread, so the copy is consistent.
        let result = unsafe {
            libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args))
        };
        twice(result).with_context(|| format!("clone3({})", self.describe()))
    }

    /// The flags as strace(1) prints them.
    fn describe(&self) -> String {
        let born_in = self.cgroup.map_or("", |_| "|CLONE_INTO_CGROUP");
        names(self.flags) + born_in
    }
}

/// Creates a process in new namespaces by clone(2), which has no
/// CLONE_INTO_CGROUP: returns twice, like fork(2).
pub(super) fn clone(namespaces: CloneFlags) -> anyhow::Result<ForkResult> {
    // The kernel reads longs, and a plain 0 would be passed as an int.
    let flags = libc::c_long::from(namespaces.bits() | libc::SIGCHLD);
    let unused: libc::c_long = 0;
    // SAFETY: no CLONE_VM, so the child gets a copy of our memory and needs no
    // stack of its own; we have one thread, so the copy is consistent. The
    // arguments behind the flags are in another order on each architecture;
    // zeros mean "not used" on all of them.
    let result = unsafe {
        libc::syscall(libc::SYS_clone, flags, unused, unused, unused, unused)
    };
    twice(result).with_context(|| format!("clone({})", names(namespaces)))
}

fn names(flags: CloneFlags) -> String {
    let names: Vec<&str> = flags.iter_names().map(|(name, _)| name).collect();
    names.join("|")
}

/// What a call has returned that returns twice.
fn twice(result: libc::c_long) -> nix::Result<ForkResult> {
    Ok(match Errno::result(result)? {
        0 => ForkResult::Child,
        pid => ForkResult::Parent {
            child: Pid::from_raw(pid as i32),
        },
    })
}

/// Moves this process, "0", into `cgroup`. To be born there is better: on an
/// idle machine this write waits for milliseconds, for a grace period of the
/// kernel's read-copy-update.
fn join(cgroup: BorrowedFd) -> anyhow::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let procs = openat(cgroup, "cgroup.procs", flags, Mode::empty())
        .context(r#"openat(cgroup, "cgroup.procs", O_WRONLY)"#)?;
    write(procs, b"0").context(r#"write("cgroup.procs", "0")"#)?;
    Ok(())
}
