//! Processes: the container's first one, the children of its init, their ends.

use std::{
    convert::Infallible,
    os::fd::{AsRawFd, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    ptr,
};

use anyhow::Context;
use libc::{c_int, c_void};
use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sched::{self, CloneFlags},
    sys::{
        prctl,
        signal::{Signal, kill},
        stat::Mode,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, getpid, getppid, pause, write},
};

use crate::{
    gate::{self, Gate},
    read_kernel_file, report, signals,
    terminal::Terminal,
};

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
        let (gate, childs_end) =
            gate::new().context("creating the container's process")?;
        let mut still_to_join = None;
        let process = match self.clone3() {
            // Docker refuses clone3(2) as if the kernel did not have it: its
            // filter can't see the flags. Then we do what every C library does;
            // the old call has the flags of all namespaces, too.
            Err(error) if error.downcast_ref() == Some(&Errno::ENOSYS) => {
                still_to_join = self.cgroup;
                self.clone()
            }
            process => process,
        };
        match process.context("creating the container's process")? {
            ForkResult::Child => {
                // Or the hang-up would never come.
                drop(gate);
                run_to_end(|| {
                    gate::wait(childs_end)?;
                    still_to_join
                        .map_or(Ok(()), join)
                        .context("joining the cgroup")?;
                    container()
                })
            }
            ForkResult::Parent { child } => Child::new(child, gate),
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

    /// The same by clone(2), which has no CLONE_INTO_CGROUP.
    fn clone(&self) -> anyhow::Result<ForkResult> {
        let flags = self.flags.bits() | libc::SIGCHLD;
        // SAFETY: as above. The arguments behind the flags are in another order
        // on each architecture; zeros mean "not used" on all of them.
        let result =
            unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        twice(result).with_context(|| format!("clone({})", names(self.flags)))
    }

    /// The flags as strace(1) prints them.
    fn describe(&self) -> String {
        let born_in = self.cgroup.map_or("", |_| "|CLONE_INTO_CGROUP");
        names(self.flags) + born_in
    }
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
/// idle machine this write waits for milliseconds, until no process is just
/// being created.
fn join(cgroup: BorrowedFd) -> anyhow::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let procs = openat(cgroup, "cgroup.procs", flags, Mode::empty())
        .context(r#"openat(cgroup, "cgroup.procs", O_WRONLY)"#)?;
    write(procs, b"0").context(r#"write("cgroup.procs", "0")"#)?;
    Ok(())
}

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
    fn new(pid: Pid, gate: Gate) -> anyhow::Result<Child> {
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
            // Both fail only if the process is gone already.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// A process that does nothing: a namespace exists as long as a process is in
/// it, and this one is in the new ones that it was created with.
///
/// It ends when this value is dropped, or with us.
pub struct Placeholder {
    pid: Pid,
    /// The process runs on it.
    _stack: Vec<u8>,
}

impl Placeholder {
    /// Creates the process; `namespaces` are the flags for its new ones.
    pub fn new(namespaces: CloneFlags) -> anyhow::Result<Placeholder> {
        let flags = CloneFlags::CLONE_VM | namespaces;
        let mut stack = vec![0; 16 * 1024];
        // SAFETY: the child has a stack of its own, which grows downwards and
        // which we keep for as long as the child lives. It runs in our memory,
        // which saves a copy of it, at the same time as we do; so its function
        // has no closure, touches nothing but its stack, and can't fail in a
        // way that would set errno.
        let pid = unsafe {
            libc::clone(
                outlive,
                stack.as_mut_ptr_range().end.cast(),
                flags.bits() | libc::SIGCHLD,
                ptr::without_provenance_mut(getpid().as_raw() as usize),
            )
        };
        let pid = Errno::result(pid)
            .with_context(|| format!("clone({})", names(flags)))?;
        Ok(Placeholder {
            pid: Pid::from_raw(pid),
            _stack: stack,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

/// What a placeholder does: nothing, until it is killed. `parent` is no pointer,
/// but the process id of its parent.
extern "C" fn outlive(parent: *mut c_void) -> c_int {
    let parent = Pid::from_raw(parent.addr() as i32);
    if prctl::set_pdeathsig(Signal::SIGKILL).is_ok() {
        // A parent that is dead already would send no signal any more.
        while getppid() == parent {
            pause();
        }
    }
    0
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// What has happened to a child.
pub enum Change {
    /// It has ended, with this exit code; 128+n says that signal n killed it.
    Ended(u8),
    /// It was stopped by a signal, such as that of Ctrl-Z.
    Stopped,
}

/// Takes note of one child that has ended or stopped: `child`, or any. Returns
/// `None` when there is none at the moment.
///
/// A child that has ended stays in the process table, as a zombie, until its
/// parent does this. See wait(2).
pub fn reap(child: Option<Pid>) -> anyhow::Result<Option<(Pid, Change)>> {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
    let status = match waitpid(child, Some(flags)) {
        // Other children of init may all be gone.
        Err(Errno::ECHILD) => return Ok(None),
        status => status.context("wait4(WNOHANG|WUNTRACED)")?,
    };
    Ok(match status {
        WaitStatus::Exited(pid, code) => Some((pid, Change::Ended(code as u8))),
        WaitStatus::Signaled(pid, signal, _) => {
            Some((pid, Change::Ended(128 + signal as u8)))
        }
        WaitStatus::Stopped(pid, _) => Some((pid, Change::Stopped)),
        _ => None,
    })
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

/// As much stack as a child needs until its exec.
const STACK_SIZE: usize = 256 * 1024;

/// Like [`fork`], for a `child` that does nothing but exec: it runs in our
/// memory, while we wait until it has left it.
///
/// fork(2) gives the child a copy of every page that it or we write to, and
/// has it map the program anew, only for exec to throw all that away. See
/// vfork(2).
pub(crate) fn vfork(
    child: impl FnOnce() -> anyhow::Result<Infallible>,
) -> anyhow::Result<Pid> {
    let mut child = Some(child);
    let run = || match child.take() {
        Some(child) => run_to_end(child),
        None => unreachable!("a process begins once"),
    };
    let mut stack = vec![0; STACK_SIZE];
    // SAFETY: the child has a stack of its own, and what else it writes to, it
    // leaves in order, since it runs like a function that we call: we have one
    // thread, which does not run before the child executes or exits.
    unsafe {
        sched::clone(
            Box::new(run),
            &mut stack,
            CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK,
            Some(libc::SIGCHLD),
        )
    }
    .context("clone(CLONE_VM|CLONE_VFORK)")
    .context("creating a process")
}

/// Waits until `child` has ended, and returns its exit code; 128+n says that
/// signal n killed it.
pub(crate) fn wait(child: Pid) -> anyhow::Result<u8> {
    let status = waitpid(child, None);
    match status.with_context(|| format!("wait4({child})"))? {
        WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as u8),
        WaitStatus::Exited(_, code) => Ok(code as u8),
        status => unreachable!("without flags there is no {status:?}"),
    }
}

/// Sends `signal` to the process `pid`; that it has ended is no error.
pub fn pass_on(signal: Signal, pid: Pid) -> anyhow::Result<()> {
    match kill(pid, signal) {
        Err(Errno::ESRCH) => Ok(()),
        result => result.with_context(|| format!("kill({pid}, {signal})")),
    }
}

/// For init: tells the parent outside that the command was stopped. It can't
/// see it itself: a stopped grandchild sends it no SIGCHLD.
pub fn say_stopped() -> anyhow::Result<()> {
    gate::say_stopped()
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

/// The end of every child: runs `function`, which returns only if it fails. A
/// panic ends here too; it must not unwind into the parent's `main`.
fn run_to_end(function: impl FnOnce() -> anyhow::Result<Infallible>) -> ! {
    let code = match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Err(error)) => report::failure(&error),
        // The panic has printed its message.
        Err(_) => report::FAILED,
    };
    exit(code)
}

/// Two fields of `/proc/PID/stat`. Together they mean one process for ever; a
/// pid alone is used again. See proc_pid_stat(5).
pub struct Stat {
    /// Field 1: its number, in the PID namespace that `/proc` belongs to.
    pub pid: Pid,
    /// Field 22: when it started, in clock ticks after boot.
    pub start_time: u64,
}

impl Stat {
    /// Reads those of the process `pid`, a number or `self`; `None` if `/proc`
    /// shows no such process.
    pub fn read(pid: &str) -> Option<Stat> {
        let text = read_kernel_file(format!("/proc/{pid}/stat")).ok()?;
        Stat::parse(&String::from_utf8_lossy(&text))
    }

    /// Field 2 is the program's name in parentheses, with whatever the user
    /// has put into it: parentheses and spaces, for example.
    fn parse(text: &str) -> Option<Stat> {
        let pid = text.split(' ').next()?.parse().ok()?;
        let (_, after_name) = text.rsplit_once(") ")?;
        let start_time = after_name.split(' ').nth(22 - 3)?.parse().ok()?;
        let pid = Pid::from_raw(pid);
        Some(Stat { pid, start_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_can_hold_anything() {
        let text = "1234 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 \
                    18 567890 20 21\n";
        let stat = Stat::parse(text).expect("22 fields");
        assert_eq!(stat.pid, Pid::from_raw(1234));
        assert_eq!(stat.start_time, 567_890);
    }
}
