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
//! the numbers that stand for no known call. The reason is speed: when a filter
//! is installed, the kernel runs it once for every number, to remember which
//! ones are always allowed, and a long list makes that slow.
//!
//! It is stricter in three places: fewer kinds of socket, no typing into the
//! reader's terminal, and no 32-bit programs.

mod refused;

use std::collections::BTreeMap;

use anyhow::Context;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, sock_filter,
};

use self::refused::{NO_SUCH_CALL, REFUSED};

/// The kinds of socket that a container may have: local, IPv4, IPv6, and the
/// two that `ip` and `tcpdump` need.
///
/// Docker's profile leaves out the ones with a history: `AF_ALG` (the kernel's
/// cryptography; CVE-2026-31431) and `AF_VSOCK` (not namespaced: it reaches
/// the host of a virtual machine). For a container whose network is `lo`,
/// these five are enough.
const ADDRESS_FAMILIES: [i32; 5] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
    libc::AF_PACKET,
];

/// The flags with which clone(2) makes namespaces. (`CLONE_NEWTIME` is none of
/// them: only clone3(2) and unshare(2) take it.)
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

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
const TYPING: [libc::Ioctl; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// Installs the filter, for this process and all its descendants.
///
/// Must run after [`privileges::drop`](crate::privileges::drop): without
/// `CAP_SYS_ADMIN` the kernel takes a filter only from a process that has set
/// `no_new_privs`, so that a filter can't lie to a set-user-ID program. And it
/// must be the last step before the init: from here on mount(2), unshare(2)
/// and sethostname(2) are refused to ourselves, too. See seccomp(2).
pub fn install() -> anyhow::Result<()> {
    let program = compile().context("compiling the seccomp filter")?;

    seccompiler::apply_filter(&program)
        .map_err(|error| match error {
            // The crate's words for it would be a third level of error.
            seccompiler::Error::Prctl(errno)
            | seccompiler::Error::Seccomp(errno) => anyhow::Error::new(errno),
            other => anyhow::Error::new(other),
        })
        .context("seccomp(SECCOMP_SET_MODE_FILTER, 0, …)")
}

/// Compiles the tables into a program for the kernel's BPF machine.
///
/// seccompiler tests one number after the other. All in one row this would be
/// correct, but the kernel runs the program for each of 460 numbers while it
/// installs it: 190 µs of a start of 2 ms. In blocks, with a jump over those
/// that can't match, it is 125 µs.
fn compile() -> anyhow::Result<BpfProgram> {
    const RULES_IN_A_BLOCK: usize = 8;

    let mut program = no_such_call();
    let mut rules = refusals()?;
    while let Some(&next) = rules.keys().nth(RULES_IN_A_BLOCK) {
        let later = rules.split_off(&next);
        let block = compile_block(rules)?;
        let length = u8::try_from(block.len())
            .context("a jump skips 255 instructions at most")?;
        program.push(instruction(JUMP_IF_GE, next as u32, length, 0));
        program.extend(block);
        rules = later;
    }
    program.extend(compile_block(rules)?);
    Ok(program)
}

/// Compiles a part of the rules. The program always ends within a block: with
/// "allow" if no rule matches.
///
/// A block begins with a check of the architecture, and kills the process if
/// it is another one: `int 0x80` on x86-64 is a call of i386, where 21 is
/// mount and not access.
fn compile_block(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// What makes a call fail with `EPERM`: for each number a list of rules, of
/// which one has to match. An empty list always matches.
fn refusals() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules = BTreeMap::new();
    for &call in REFUSED {
        rules.insert(call, vec![]);
    }

    // A new user namespace would give its maker all capabilities, inside it:
    // most of the kernel's recent holes were reached from there. A rule for
    // each flag, because one is enough to be refused.
    let mut new_namespace = vec![];
    for flag in NAMESPACES {
        let flag = flag as u64;
        let is_set = argument(0, SeccompCmpOp::MaskedEq(flag), flag)?;
        new_namespace.push(SeccompRule::new(vec![is_set])?);
    }
    rules.insert(libc::SYS_clone, new_namespace);

    // One rule, of which all conditions have to hold: none of the five.
    let mut other_family = vec![];
    for family in ADDRESS_FAMILIES {
        other_family.push(argument(0, SeccompCmpOp::Ne, family as u64)?);
    }
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(other_family)?]);

    let mut other_personality = vec![];
    for personality in PERSONALITIES {
        let personality = u64::from(personality);
        other_personality.push(argument(0, SeccompCmpOp::Ne, personality)?);
    }
    rules.insert(
        libc::SYS_personality,
        vec![SeccompRule::new(other_personality)?],
    );

    let mut typing = vec![];
    for request in TYPING {
        // The C libraries don't agree on the type: u64 in glibc, i32 in musl.
        #[allow(clippy::unnecessary_cast)]
        let request = request as u64;
        let is_typing = argument(1, SeccompCmpOp::Eq, request)?;
        typing.push(SeccompRule::new(vec![is_typing])?);
    }
    rules.insert(libc::SYS_ioctl, typing);

    Ok(rules)
}

/// A condition on the lower half of an argument.
///
/// A register has 64 bits, but the kernel reads only 32 of all the arguments
/// that this filter looks at. A filter that compares 64 would take
/// `TIOCSTI | 1 << 32` for another request, and the kernel would not.
fn argument(
    index: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

/// The beginning of the program: `ENOSYS` for the ranges of [`NO_SUCH_CALL`].
///
/// By hand, because a rule of seccompiler is about one number, and its filter
/// has one errno. It is `ENOSYS` and not `EPERM` because that is the kernel's
/// own answer where it lacks a call: a C library then takes the older one. See
/// Documentation/userspace-api/seccomp_filter.rst of the kernel.
fn no_such_call() -> BpfProgram {
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    // The number is the first field of struct seccomp_data. It is compared
    // without a sign: -1 and the calls of x32 are above all others.
    let mut program = vec![instruction(LOAD, 0, 0, 0)];
    for range in NO_SUCH_CALL {
        program.push(instruction(JUMP_IF_GE, *range.start(), 0, 2));
        program.push(instruction(JUMP_IF_GT, *range.end(), 1, 0));
        program.push(instruction(RETURN, enosys, 0, 0));
    }
    program
}

// The instructions that are written by hand.
const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_IF_GE: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const JUMP_IF_GT: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Encodes an instruction with the operand `k`. A jump skips `jt` instructions
/// if its condition is true, `jf` if not.
fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}
