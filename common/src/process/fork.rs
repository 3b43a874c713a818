//! Creating children of this process, by fork(2) and by vfork(2).

use std::{
    convert::Infallible,
    os::fd::BorrowedFd,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::Context;
use nix::{
    errno::Errno,
    sched::{self, CloneFlags},
    unistd::{ForkResult, Pid},
};

use super::{stack::Stack, status::wait};
use crate::{
    errors::{self, FAILED},
    sys,
};

/// Creates a child that runs `child`, a function that ends in an exec.
///
/// The caller must have only one thread.
pub fn fork(
    child: impl FnOnce() -> anyhow::Result<Infallible>,
) -> anyhow::Result<Pid> {
    // SAFETY: we have one thread, so the child may do whatever we may.
    let process = unsafe { sys::fork() };
    match process.context("creating a process")? {
        ForkResult::Child => run_to_end(child),
        ForkResult::Parent { child } => Ok(child),
    }
}

/// The call of [`vfork`].
pub(crate) const VFORK: &str = "clone(CLONE_VM|CLONE_VFORK|SIGCHLD)";

/// Creates a child that goes on where we are, as we do: for a program that
/// leaves work to a process in the background, and ends.
///
/// The caller must have only one thread.
pub fn fork_both() -> anyhow::Result<ForkResult> {
    // SAFETY: we have one thread, so the child may do whatever we may.
    let process = unsafe { sys::fork() };
    process.context("creating a process")
}

/// Creates a process as a child not of ours but of our parent, with the
/// namespaces that `flags` ask for, and runs `child` in it. On cgroup v2 it is
/// born in `cgroup`.
///
/// For a process that enters namespaces only so that its children are in them,
/// and that nobody is to wait for: a PID namespace is entered so. The number is
/// that of our own PID namespace. See setns(2) and clone(2), `CLONE_PARENT`.
///
/// The caller must have only one thread.
pub fn sibling(
    flags: CloneFlags,
    cgroup: Option<BorrowedFd>,
    child: impl FnOnce() -> anyhow::Result<Infallible>,
) -> anyhow::Result<Pid> {
    let flags = flags | CloneFlags::CLONE_PARENT;
    // SAFETY: we have one thread, and no flag is CLONE_VM.
    let process = unsafe { sys::clone3(flags, cgroup) };
    match process.context("creating a process")? {
        ForkResult::Child => run_to_end(child),
        ForkResult::Parent { child } => Ok(child),
    }
}

/// Creates a child that calls `exec`, which returns only if it fails, and then
/// with the errno: it runs in our memory, while we wait until it has left it.
///
/// fork(2) gives the child a copy of every page that it or we write to, and
/// has it map the program anew, only for exec to throw all that away. See
/// vfork(2).
pub(crate) fn vfork(
    mut exec: impl FnMut() -> Errno,
) -> anyhow::Result<Result<Pid, Errno>> {
    let mut stack = Stack::new().context("creating a process")?;
    let mut failed = None;
    let child = || {
        failed = Some(exec());
        exit(FAILED)
    };
    // SAFETY: the child has a stack of its own, with a guard page below. In the
    // rest of our memory it may be killed at any moment: so it allocates
    // nothing and holds no lock, it only calls the kernel and leaves an errno.
    // We have one thread, which does not run before the child executes or ends.
    let pid = unsafe {
        sched::clone(
            Box::new(child),
            stack.bytes(),
            CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK,
            Some(libc::SIGCHLD),
        )
    };
    let pid = pid.context(VFORK).context("creating a process")?;
    let Some(errno) = failed else {
        return Ok(Ok(pid));
    };
    wait(pid)?;
    Ok(Err(errno))
}

/// Ends this process at once, with nothing of what our parent had in store for
/// its own end (buffers, handlers): that was copied to us, but is not ours.
pub fn exit(code: u8) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code.into()) }
}

/// The end of every child: runs `function`, which returns only if it fails. A
/// panic ends here too; it must not unwind into the parent's `main`.
pub(super) fn run_to_end(
    function: impl FnOnce() -> anyhow::Result<Infallible>,
) -> ! {
    let code = match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Err(error)) => errors::failure(&error),
        // The panic has printed its message.
        Err(_) => FAILED,
    };
    exit(code)
}
