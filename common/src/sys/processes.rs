//! Processes: their names and groups, how they are made, and their ends.

use std::{
    convert::Infallible,
    ffi::{CStr, CString, OsStr, OsString},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use libc::c_int;
use nix::{
    errno::Errno,
    fcntl::AtFlags,
    sched::CloneFlags,
    sys::time::TimeSpec,
    time::{self, ClockId},
    unistd::{self, ForkResult, Pid},
};

use super::{
    Result,
    argument::{Argument, Bits, Names, Word},
    call, finish, int,
    signals::name,
};

/// See sethostname(2).
#[track_caller]
pub fn sethostname(name: impl AsRef<OsStr>) -> Result<()> {
    let name = name.as_ref();
    let length = name.len();
    call!(sethostname(name, length), unistd::sethostname(name))
}

/// See gethostname(2).
#[track_caller]
pub fn gethostname() -> Result<OsString> {
    call!(gethostname(), unistd::gethostname())
}

/// See getpgid(2).
#[track_caller]
pub fn getpgid(pid: Pid) -> Result<Pid> {
    call!(getpgid(pid), unistd::getpgid(Some(pid)))
}

/// See setpgid(2).
#[track_caller]
pub fn setpgid(pid: Pid, pgid: Pid) -> Result<()> {
    call!(setpgid(pid, pgid), unistd::setpgid(pid, pgid))
}

/// See setsid(2).
#[track_caller]
pub fn setsid() -> Result<Pid> {
    call!(setsid(), unistd::setsid())
}

/// See setdomainname(2).
#[track_caller]
pub fn setdomainname(name: &str) -> Result<()> {
    let length = name.len();
    // SAFETY: the call reads `length` bytes, and so many there are.
    let set = Errno::result(unsafe {
        libc::setdomainname(name.as_ptr().cast(), length)
    });
    call!(setdomainname(name, length), set.map(drop))
}

/// From <linux/sched.h>. The flags of clone3(2) have 64 bits, and the crate
/// `libc` declares this one too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// See clone3(2), since Linux 5.3: without a stack, so that it returns twice,
/// like fork(2). The child is born in `cgroup`, an open directory of the cgroup
/// v2 file system, if there is one (since Linux 5.7).
///
/// # Safety
/// The caller has one thread: the others would be missing in the copy of our
/// memory, perhaps with a lock in hand. `flags` must not have `CLONE_VM`.
#[track_caller]
pub unsafe fn clone3(
    flags: CloneFlags,
    cgroup: Option<BorrowedFd>,
) -> Result<ForkResult> {
    // SAFETY: clone_args is a plain structure, for which zeros are valid and
    // mean "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags.bits().cast_unsigned().into();
    // One that has our parent for its own dies as we do.
    if !flags.contains(CloneFlags::CLONE_PARENT) {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: the kernel reads as many bytes of `args` as there are. No
    // CLONE_VM, so the child gets a copy of our memory and needs no stack of
    // its own; by the caller's promise the copy is consistent.
    let process = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args))
    };
    let process = twice(process);
    // It has made no call: it was made by one.
    if let Ok(ForkResult::Child) = process {
        return Ok(ForkResult::Child);
    }
    finish(process, || {
        let mut text = format!("flags={}", flags.text());
        if let Some(cgroup) = cgroup {
            let cgroup = cgroup.text();
            text += &format!("|CLONE_INTO_CGROUP, cgroup={cgroup}");
        }
        let size = size_of_val(&args);
        format!("clone3({{{text}}}, {size})")
    })
}

/// See clone(2): without a stack, so that it returns twice, like fork(2).
///
/// # Safety
/// As for [`clone3`].
#[track_caller]
pub unsafe fn clone(flags: CloneFlags) -> Result<ForkResult> {
    // The kernel reads longs, and a plain 0 would be passed as an int.
    let bits = libc::c_long::from(flags.bits() | libc::SIGCHLD);
    let unused: libc::c_long = 0;
    // SAFETY: no CLONE_VM, so the child gets a copy of our memory and needs no
    // stack of its own; by the caller's promise the copy is consistent. The
    // arguments behind the flags are in another order on each architecture;
    // zeros mean "not used" on all of them.
    let process = unsafe {
        libc::syscall(libc::SYS_clone, bits, unused, unused, unused, unused)
    };
    call!(clone(Word(flags.text() + "|SIGCHLD")), twice(process))
}

/// What a call has returned that returns twice.
fn twice(result: libc::c_long) -> nix::Result<ForkResult> {
    Ok(match Errno::result(result)? {
        0 => ForkResult::Child,
        pid => ForkResult::Parent {
            child: Pid::from_raw(int(pid)),
        },
    })
}

/// See fork(2).
///
/// # Safety
/// As for [`clone3`].
#[track_caller]
pub unsafe fn fork() -> Result<ForkResult> {
    // SAFETY: by the caller's promise.
    let process = unsafe { unistd::fork() };
    call!(fork(), process)
}

/// See execveat(2): returns only if it fails.
#[track_caller]
pub fn execveat(
    dirfd: impl AsFd,
    path: &CStr,
    argv: &[CString],
    envp: &[CString],
    flags: AtFlags,
) -> Result<Infallible> {
    let dirfd = dirfd.as_fd();
    let failed = unistd::execveat(dirfd, path, argv, envp, flags);
    call!(
        execveat(
            dirfd,
            path,
            Word(list(argv)),
            Word(format!("[/* {} vars */]", envp.len())),
            flags,
        ),
        failed
    )
}

fn list(strings: &[CString]) -> String {
    let texts: Vec<String> = strings.iter().map(|it| it.text()).collect();
    format!("[{}]", texts.join(", "))
}

/// See clock_gettime(2).
#[track_caller]
pub fn clock_gettime(clock: ClockId) -> Result<TimeSpec> {
    call!(
        clock_gettime(Word(clock_name(clock).into())),
        time::clock_gettime(clock)
    )
}

fn clock_name(clock: ClockId) -> &'static str {
    match clock {
        ClockId::CLOCK_PROCESS_CPUTIME_ID => "CLOCK_PROCESS_CPUTIME_ID",
        ClockId::CLOCK_MONOTONIC => "CLOCK_MONOTONIC",
        _ => "CLOCK_...",
    }
}

/// See wait4(2), without the usage of resources: the number of a child, or 0 if
/// `WNOHANG` is among the `options` and there is nothing to tell, and its
/// status, for `libc::WIFEXITED` and so on.
///
/// nix has the same, but refuses the signals of real time, for which it has no
/// names, when the zombie is gone already.
#[track_caller]
pub fn wait4(pid: Pid, options: c_int) -> Result<(Pid, c_int)> {
    let mut status = 0;
    // SAFETY: the call fills an integer, and takes no other pointer.
    let child =
        unsafe { libc::waitpid(pid.as_raw(), &raw mut status, options) };
    // Not to be told anything is not worth showing, either.
    if child == 0 {
        return Ok((Pid::from_raw(0), status));
    }
    let child =
        Errno::result(child).map(|child| (Pid::from_raw(child), status));
    finish(child, || {
        let options = Bits::of(options, WAIT_OPTIONS).text();
        let told = match child {
            Ok(_) if libc::WIFEXITED(status) => {
                let code = libc::WEXITSTATUS(status);
                format!("[{{WIFEXITED(s) && WEXITSTATUS(s) == {code}}}]")
            }
            Ok(_) if libc::WIFSIGNALED(status) => {
                let signal = name(libc::WTERMSIG(status));
                format!("[{{WIFSIGNALED(s) && WTERMSIG(s) == {signal}}}]")
            }
            _ => "…".into(),
        };
        format!("wait4({pid}, {told}, {options})")
    })
}

const WAIT_OPTIONS: Names = &[
    ("WNOHANG", libc::WNOHANG as u64),
    ("WUNTRACED", libc::WUNTRACED as u64),
];
