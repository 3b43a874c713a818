//! Creating children of this process, by fork(2) and by vfork(2).

use std::{
    convert::Infallible,
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
    let pid = pid
        .context("clone(CLONE_VM|CLONE_VFORK|SIGCHLD)")
        .context("creating a process")?;
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
