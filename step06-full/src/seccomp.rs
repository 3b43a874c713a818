//! What the kernel is still asked for: a filter of system calls.
//!
//! A container shares the host's kernel, and every system call is a door to
//! it. Most programs use a hundred of them; the others matter because of the
//! bugs that they may have. The filter is a small program of the kernel's
//! first BPF machine. It runs before each system call, sees the number and the
//! arguments (not what a pointer points to), and answers "allow", "fail with
//! this errno" or "kill". See seccomp(2).
//!
//! Docker's profile lists the calls that it allows, about 370. Here is the same
//! border, drawn from the other side: `refused` lists the known calls that
//! Docker refuses to a container with its default capabilities, about 60, and
//! the numbers that stand for no known call. A container starts the faster for
//! it: the kernel checks and translates every instruction when a filter is
//! installed, and runs it once for each number, to remember which calls are
//! always allowed.
//!
//! It is stricter in three places: fewer kinds of socket, no typing into the
//! reader's terminal, and no 32-bit programs.

mod refused;

use std::{
    collections::BTreeMap,
    mem::{offset_of, size_of},
    ops::RangeInclusive,
};

use anyhow::Context;
use libc::{seccomp_data, sock_filter, sock_fprog};
use nix::errno::Errno;

use self::refused::{NO_SUCH_CALL, REFUSED};

/// The kinds of socket that a container may have: local, IPv4, IPv6, and the
/// two that `ip` and `tcpdump` need.
///
/// Docker's profile leaves out the ones with a history: `AF_ALG` (the kernel's
/// cryptography; CVE-2026-31431) and `AF_VSOCK` (not namespaced: it reaches
/// the host of a virtual machine). For a container whose network is `lo`,
/// these five are enough.
const ADDRESS_FAMILIES: [u32; 5] = [
    libc::AF_UNIX as u32,
    libc::AF_INET as u32,
    libc::AF_INET6 as u32,
    libc::AF_NETLINK as u32,
    libc::AF_PACKET as u32,
];

/// The flags with which clone(2) makes namespaces. (`CLONE_NEWTIME` is none of
/// them: only clone3(2) and unshare(2) take it.)
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// The execution domains that a program may choose: Linux, Linux with the
/// `uname` of version 2.6 (`UNAME26`), 32 bits (`PER_LINUX32`), both, and "tell
/// me which one I have". See personality(2).
///
/// Refused above all: `ADDR_NO_RANDOMIZE` and `READ_IMPLIES_EXEC`, which take
/// away protections that a program has against its own bugs.
const PERSONALITIES: [u32; 5] = [0, 0x20000, 0x8, 0x20008, 0xffff_ffff];

/// The requests that put input into a terminal as if it had been typed there.
///
/// Not in Docker's profile: Docker gives a container a terminal of its own.
/// Ours shares the reader's, and what a container "types" there is read, and
/// run, by the reader's shell once the container is gone. Since Linux 6.2 a
/// sysctl can switch the first one off (`dev.tty.legacy_tiocsti`); the second
/// one pastes, on a virtual console. See ioctl_tty(2) and ioctl_console(2).
const TYPING: [u32; 2] = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32];

/// The machine's own calls. See AUDIT_ARCH in <linux/audit.h>.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// Instructions for the kernel's BPF machine: a register that takes one word of
/// `seccomp_data`, comparisons that skip what follows, and the answer.
type Program = Vec<sock_filter>;

/// Installs the filter, for this process and all its descendants.
///
/// Must run after [`privileges::drop`](crate::privileges::drop): without
/// `CAP_SYS_ADMIN` the kernel takes a filter only from a process that has set
/// `no_new_privs`, so that a filter can't lie to a set-user-ID program. And it
/// must be the last step before the init: from here on mount(2), unshare(2)
/// and sethostname(2) are refused to ourselves, too. See seccomp(2).
pub fn install() -> anyhow::Result<()> {
    let mut filter = filter();
    let program = sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` points to `len` instructions, which live until the end
    // of this function; the kernel copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    Errno::result(result)
        .map(drop)
        .context("seccomp(SECCOMP_SET_MODE_FILTER, 0, …)")
}

/// The whole program: what it answers depends on the architecture, then on the
/// number, and for four calls on an argument.
///
/// The architecture comes first, because a number means something only together
/// with it: `int 0x80` on x86-64 is a call of i386, where 21 is mount and not
/// access.
fn filter() -> Program {
    let mut program = vec![
        load(offset_of!(seccomp_data, arch)),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(offset_of!(seccomp_data, nr)),
    ];
    program.extend(search(&answers()));
    program
}

/// What is answered to which numbers: each answer holds from its number up to
/// the next one. Numbers are compared without a sign, so that -1 and the calls
/// of x32 are above all others.
fn answers() -> Vec<(u32, Program)> {
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let refuse = answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    // The kernel's own answer where it lacks a call: a C library then takes
    // the older one. See Documentation/userspace-api/seccomp_filter.rst.
    let no_such_call = answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);

    let mut answers = BTreeMap::from([(0, vec![allow])]);
    let mut set = |numbers: RangeInclusive<u32>, program: Program| {
        if *numbers.end() < u32::MAX {
            answers.entry(numbers.end() + 1).or_insert(vec![allow]);
        }
        answers.insert(*numbers.start(), program);
    };
    for &call in REFUSED {
        set(one(call), vec![refuse]);
    }
    for numbers in NO_SUCH_CALL {
        set(numbers.clone(), vec![no_such_call]);
    }

    // A new user namespace would give its maker all capabilities, inside it:
    // most of the kernel's recent holes were reached from there. One flag is
    // enough to be refused.
    set(
        one(libc::SYS_clone),
        vec![
            load(argument(0)),
            jump(libc::BPF_JSET, NAMESPACES as u32, 0, 1),
            refuse,
            allow,
        ],
    );
    set(
        one(libc::SYS_socket),
        if_one_of(argument(0), &ADDRESS_FAMILIES, allow, refuse),
    );
    set(
        one(libc::SYS_personality),
        if_one_of(argument(0), &PERSONALITIES, allow, refuse),
    );
    set(
        one(libc::SYS_ioctl),
        if_one_of(argument(1), &TYPING, refuse, allow),
    );

    let mut answers: Vec<_> = answers.into_iter().collect();
    answers.dedup_by(|next, answer| next.1 == answer.1);
    answers
}

/// The range of numbers that is this call.
fn one(call: libc::c_long) -> RangeInclusive<u32> {
    call as u32..=call as u32
}

/// Finds the answer to the loaded number: halves the table with one comparison,
/// and its halves in turn. With some sixty answers this takes six comparisons;
/// to go through the list would take thirty on average.
fn search(answers: &[(u32, Program)]) -> Program {
    if let [(_, program)] = answers {
        return program.clone();
    }
    let (lower, upper) = answers.split_at(answers.len() / 2);
    let (middle, _) = upper[0];
    let lower = search(lower);
    let skip = u8::try_from(lower.len()).expect("a table of this size");
    let mut program = vec![jump(libc::BPF_JGE, middle, skip, 0)];
    program.extend(lower);
    program.extend(search(upper));
    program
}

/// Answers `yes` if the argument is one of `values`, otherwise `no`.
fn if_one_of(
    argument: usize,
    values: &[u32],
    yes: sock_filter,
    no: sock_filter,
) -> Program {
    let mut program = vec![load(argument)];
    for (index, value) in values.iter().enumerate() {
        let to_yes = (values.len() - index) as u8;
        program.push(jump(libc::BPF_JEQ, *value, to_yes, 0));
    }
    program.extend([no, yes]);
    program
}

/// Where an argument is: its lower half, which comes first on both machines.
///
/// A register has 64 bits, but the kernel reads only 32 of all the arguments
/// that this filter looks at. A filter that compares 64 would take
/// `TIOCSTI | 1 << 32` for another request, and the kernel would not.
fn argument(index: usize) -> usize {
    offset_of!(seccomp_data, args) + index * size_of::<u64>()
}

/// Takes a word of the call's description, `struct seccomp_data`.
fn load(offset: usize) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32, 0, 0)
}

/// Compares the word with `value`, and skips so many instructions if that is
/// true, so many if not.
fn jump(condition: u32, value: u32, if_true: u8, if_not: u8) -> sock_filter {
    let code = libc::BPF_JMP | condition | libc::BPF_K;
    instruction(code, value, if_true, if_not)
}

/// Ends the program.
fn answer(value: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}
