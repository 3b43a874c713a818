//! What the process that publishes has: a foot in two network namespaces, and
//! nothing else.

use std::{mem::offset_of, os::fd::RawFd};

use anyhow::Context;
use common::{
    process::{self, signals},
    sys::{self, Capabilities, explain},
};
use libc::{c_int, c_long, seccomp_data, sock_filter};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sched::CloneFlags,
    sys::resource::Resource,
    unistd::{Gid, Pid, Uid},
};
use step06_full::{
    privileges,
    seccomp::{ARCHITECTURE, Program},
};

/// Lets go of all that came along from the parent, but the descriptors `kept`:
/// files, the terminal as that of a session, signals that are blocked.
pub(super) fn let_go(kept: &[RawFd]) -> anyhow::Result<()> {
    sys::prctl_set_name(c"box-ports")?;
    // Ctrl-C is not meant for us.
    sys::setsid()?;
    signals::unblock()?;
    let names = sys::readdir("/proc/self/fd")?;
    let numbers = names.iter().filter_map(|it| it.to_str()?.parse().ok());
    for number in numbers.filter(|it| *it > libc::STDERR_FILENO) {
        if !kept.contains(&number) {
            // One of them was that of the directory, and is closed already.
            let _ = sys::close(number);
        }
    }
    raise_limit_on_files()
}

/// Lets go of standard input, output and error: from now on there is nobody to be
/// told anything, nor any call to be shown but the last one. And of the caller's
/// directory, which could not be unmounted.
pub(super) fn fall_silent() -> anyhow::Result<()> {
    explain::end_with(|| {
        vec!["seccomp(SECCOMP_SET_MODE_FILTER, 0, {...})".into()]
    });
    let streams = libc::STDIN_FILENO..=libc::STDERR_FILENO;
    process::lead_to_null(streams)?;
    Ok(sys::chdir("/")?)
}

/// A connection takes two descriptors. More than this many connections would be
/// an attack, not customers.
const FILES: u64 = 1 << 16;

fn raise_limit_on_files() -> anyhow::Result<()> {
    let (_, hard) = sys::getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = hard.min(FILES);
    Ok(sys::setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?)
}

/// Enters the network namespace of `container`: what this process opens from now
/// on is in there, and what it has open stays where it is.
///
/// In that container's user namespace it has the right to; and whatever it may
/// do from now on, it may do to that container at most. See setns(2).
pub(super) fn enter(container: Pid) -> anyhow::Result<()> {
    let kinds = [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("net", CloneFlags::CLONE_NEWNET),
    ];
    let namespaces = kinds.map(|(name, kind)| {
        let path = format!("/proc/{container}/ns/{name}");
        (sys::open(path, OFlag::O_RDONLY, 0), kind)
    });
    // The container's root would have every right over a process in there, if it
    // could name it.
    sys::prctl(sys::PR_SET_DUMPABLE, 0)?;
    for (namespace, kind) in namespaces {
        let entered = namespace.and_then(|it| sys::setns(it, kind));
        entered.context("entering the container's network")?;
    }
    Ok(())
}

/// Nobody, in most systems: a user to whom no file belongs.
const NOBODY: u32 = 65534;

/// Gives up all rights, for good, and becomes nobody, where the container's user
/// namespace has an id for that: a plain user's may have one id only.
pub(super) fn give_up_rights() -> anyhow::Result<()> {
    privileges::reduce_to(&[sys::CAP_SETUID, sys::CAP_SETGID])?;
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let leave = || {
        sys::setgroups(&[])?;
        sys::setresgid(group, group, group)?;
        sys::setresuid(user, user, user)
    };
    match leave() {
        Err(error) if [Errno::EINVAL, Errno::EPERM].contains(&error.errno) => {}
        left => left?,
    }
    sys::capset(&Capabilities {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    })?;
    // A change of ids takes it back.
    Ok(sys::prctl(sys::PR_SET_DUMPABLE, 0)?)
}

/// All that it takes to pass on: sockets, waiting, memory.
const CALLS: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_write,
    libc::SYS_clock_gettime,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

/// What is allowed with some values of an argument only: the call, the place of
/// the argument, the values.
const CALLS_WITH: &[(c_long, usize, &[c_int])] = &[
    // Of the internet, and of no other kind.
    (libc::SYS_socket, 0, &[libc::AF_INET, libc::AF_INET6]),
    // Rust's library, in a debug build, before it closes something.
    (libc::SYS_fcntl, 1, &[libc::F_GETFD]),
];

/// Refuses all other system calls. Step 6's filter lists what a container must
/// not do, since nobody knows what it will; here we know what we do, and list
/// that. Whatever else is called, somebody else calls it: the end.
pub(super) fn filter_calls() -> anyhow::Result<()> {
    sys::seccomp_set_mode_filter(0, &filter())
        .context("filtering its own calls")
}

/// The filter, as bpf(4) instructions, from its end to its beginning.
fn filter() -> Vec<sock_filter> {
    let mut program = Program::default();
    let kill = program.answer(libc::SECCOMP_RET_KILL_PROCESS);
    let allow = program.answer(libc::SECCOMP_RET_ALLOW);
    let calls: Vec<u32> = CALLS.iter().map(|call| number(*call)).collect();
    let mut numbers = program.is_one_of(&calls, allow, kill);
    for (call, argument, values) in CALLS_WITH {
        let values: Vec<u32> =
            values.iter().map(|it| it.cast_unsigned()).collect();
        let values = program.is_one_of(&values, allow, kill);
        let offset =
            offset_of!(seccomp_data, args) + argument * size_of::<u64>();
        let argument = program.load(offset, values);
        let call = number(*call);
        numbers = program.branch(libc::BPF_JEQ, call, argument, numbers);
    }
    let own = program.load(offset_of!(seccomp_data, nr), numbers);
    let whose = program.branch(libc::BPF_JEQ, ARCHITECTURE, own, kill);
    program.load(offset_of!(seccomp_data, arch), whose);
    program.finish()
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).expect("numbers are positive")
}
