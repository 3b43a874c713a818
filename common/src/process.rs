//! Processes: the container's first one, the children of its init, their ends.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs,
    os::fd::RawFd,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::Context;
use libc::c_int;
use nix::{
    errno::Errno,
    sched::{self, CloneFlags},
    sys::signal::{Signal, kill},
    unistd::{ForkResult, Pid, getpgid},
};

use crate::{
    gate,
    report::{self, FAILED},
    signals,
};

mod child;
mod command;
mod new_process;
mod placeholder;
mod stack;
mod stat;
mod status;

pub use crate::gate::News;
pub use child::Child;
pub(crate) use child::end_as_the_command;
pub(crate) use command::Command;
pub use new_process::NewProcess;
pub use placeholder::Placeholder;
use stack::Stack;
pub use stat::Stat;
use status::wait4;
pub use status::{Change, End};

/// Takes note of one child that has ended or stopped: `child`, or any. Returns
/// `None` when there is none at the moment.
///
/// A child that has ended stays in the process table, as a zombie, until its
/// parent does this. See wait(2).
pub fn reap(child: Option<Pid>) -> anyhow::Result<Option<(Pid, Change)>> {
    match wait4(child, libc::WNOHANG | libc::WUNTRACED) {
        // Other children of init may all be gone.
        Err(Errno::ECHILD) => Ok(None),
        change => change.context("wait4(WNOHANG|WUNTRACED)"),
    }
}

/// Creates a child that runs `child`, a function that ends in an exec.
///
/// The caller must have only one thread.
pub fn fork(
    child: impl FnOnce() -> anyhow::Result<Infallible>,
) -> anyhow::Result<Pid> {
    // SAFETY: we have one thread, so the child may do whatever we may.
    let process = unsafe { nix::unistd::fork() };
    match process.context("fork()").context("creating a process")? {
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
        .context("clone(CLONE_VM|CLONE_VFORK)")
        .context("creating a process")?;
    let Some(errno) = failed else {
        return Ok(Ok(pid));
    };
    wait(pid)?;
    Ok(Err(errno))
}

/// Closes every descriptor that would be closed at exec, but for `kept` and our
/// end of the gate. These are ours: Rust opens all files so. What this program
/// was given without that mark is left.
///
/// The caller must not use them again: it ends in an exec, or with the
/// container.
pub(crate) fn close_own_descriptors(kept: &[RawFd]) -> anyhow::Result<()> {
    let path = "/proc/self/fd";
    let names: Vec<OsString> = fs::read_dir(path)
        .and_then(|entries| entries.map(|it| Ok(it?.file_name())).collect())
        .with_context(|| format!("getdents({path:?})"))?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    for number in numbers.filter(|number| *number > libc::STDERR_FILENO) {
        if kept.contains(&number) || gate::childs_end() == Some(number) {
            continue;
        }
        // SAFETY: the call takes integers and changes nothing.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags != -1 && flags & libc::FD_CLOEXEC != 0 {
            // SAFETY: the descriptor is one of this program's, and by the
            // precondition nobody uses it again.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// Waits until `child` has ended, and returns its exit code; 128+n says that
/// signal n killed it.
pub(crate) fn wait(child: Pid) -> anyhow::Result<u8> {
    let change = wait4(Some(child), 0);
    match change.with_context(|| format!("wait4({child})"))? {
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

/// Sends `signal` to the process `pid`; that it has ended is no error.
pub fn pass_on(signal: c_int, pid: Pid) -> anyhow::Result<()> {
    // SAFETY: the call takes two integers. nix has it only for the signals that
    // have names.
    match Errno::result(unsafe { libc::kill(pid.as_raw(), signal) }) {
        Err(Errno::ESRCH) => Ok(()),
        result => result
            .map(drop)
            .with_context(|| format!("kill({pid}, {})", signals::name(signal))),
    }
}

/// Sends `signal` to all processes of the group that `member` is in: what the
/// terminal does on Ctrl-C.
pub fn pass_on_to_group(signal: c_int, member: Pid) -> anyhow::Result<()> {
    match getpgid(Some(member)) {
        Err(Errno::ESRCH) => Ok(()),
        group => {
            let group = group.with_context(|| format!("getpgid({member})"))?;
            pass_on(signal, Pid::from_raw(-group.as_raw()))
        }
    }
}

/// For init: tells the parent outside what it can't see itself, since it is the
/// parent of number 1 and not of the command.
pub fn tell(news: News) -> anyhow::Result<()> {
    gate::tell(news)
}

/// Has the kernel kill this process when its parent dies. To be called again
/// after each change of user or group ids, which takes it back. See
/// PR_SET_PDEATHSIG(2const).
pub fn die_with_parent() -> anyhow::Result<()> {
    gate::die_with_parent()
}

/// Ends this process at once, with nothing of what our parent had in store for
/// its own end (buffers, handlers): that was copied to us, but is not ours.
pub fn exit(code: u8) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code.into()) }
}

/// For init: ends this process as the command has ended. The parent outside
/// hears the difference between an exit code of 130 and a death by SIGINT.
pub fn exit_as(end: End) -> ! {
    // Nor is a Ctrl-C lost that the command did not live to hear.
    let late = signals::so_far().unwrap_or_default();
    if end.is_by(Signal::SIGINT) || late.contains(&libc::SIGINT) {
        // If nobody hears it, the exit code still says it.
        let _ = tell(News::EndedByInterrupt);
    }
    exit(end.code())
}

/// The end of every child: runs `function`, which returns only if it fails. A
/// panic ends here too; it must not unwind into the parent's `main`.
fn run_to_end(function: impl FnOnce() -> anyhow::Result<Infallible>) -> ! {
    let code = match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Err(error)) => report::failure(&error),
        // The panic has printed its message.
        Err(_) => FAILED,
    };
    exit(code)
}
