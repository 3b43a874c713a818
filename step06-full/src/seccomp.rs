//! What the kernel is still asked for: a filter of system calls.
//!
//! A container shares the host's kernel, and every system call is a door to
//! it. Most programs use a hundred of them; the others matter because of the
//! bugs that they may have. The filter is a small program of the kernel's
//! first BPF machine. It runs before each system call, sees the number and the
//! arguments (not what a pointer points to), and answers "allow", "fail with
//! this errno" or "kill". See seccomp(2).
//!
//! Docker's profile lists the calls that it allows, about 370. Here is nearly
//! the same border, drawn from the other side: `refused` lists the known calls
//! that Docker refuses to a container with its default capabilities, about 60,
//! and the numbers that stand for no known call. A container starts the faster for
//! it: the kernel checks and translates every instruction when a filter is
//! installed, and runs it once for each number, to remember which calls are
//! always allowed.
//!
//! It is stricter in four places: fewer kinds of socket, no typing into the
//! reader's terminal, no 32-bit programs, and a handful of calls that hardly any
//! program needs (`STRICTER_THAN_DOCKER`).

mod program;
mod refused;

use std::{
    mem::{offset_of, size_of},
    ops::RangeInclusive,
};

use anyhow::Context;
use common::sys;
use libc::{seccomp_data, sock_filter};

pub use self::program::{Label, Program};
use self::refused::{
    FIRST_UNKNOWN, NO_SUCH_CALL, REFUSED, STRICTER_THAN_DOCKER,
};

/// The kinds of socket that a container may have: local, IPv4, IPv6, and the
/// one by which `ip` asks the kernel.
///
/// Docker's profile leaves out the ones with a history: `AF_ALG` (the kernel's
/// cryptography; CVE-2026-31431) and `AF_VSOCK` (not namespaced: it reaches
/// the host of a virtual machine). We leave out one more: `AF_PACKET`, which
/// `tcpdump` listens by. For a container whose network is `lo` nobody is there
/// to be listened to, and the kernel would lend it gigabytes for ring buffers
/// that no limit counts.
const ADDRESS_FAMILIES: [u32; 4] = [
    libc::AF_UNIX as u32,
    libc::AF_INET as u32,
    libc::AF_INET6 as u32,
    libc::AF_NETLINK as u32,
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

/// What a program may ask of its execution domain: the `uname` of version 2.6
/// (`UNAME26`), and 32 bits (`PER_LINUX32`); neither, or both. See
/// personality(2).
///
/// Refused above all: `ADDR_NO_RANDOMIZE` and `READ_IMPLIES_EXEC`, which take
/// away protections that a program has against its own bugs.
const PERSONALITY: u32 = 0x20000 | 0x8;

/// Changes nothing, and tells which one a program has.
const WHICH_PERSONALITY: u32 = 0xffff_ffff;

/// The requests that put input into a terminal as if it had been typed there.
///
/// Not in Docker's profile: Docker gives a container a terminal of its own.
/// Ours shares the reader's, and what a container "types" there is read, and
/// run, by the reader's shell once the container is gone. Since Linux 6.2 a
/// sysctl can switch the first one off (`dev.tty.legacy_tiocsti`); the second
/// one pastes, on a virtual console. See ioctl_tty(2) and ioctl_console(2).
#[allow(
    clippy::cast_possible_truncation,
    reason = "requests have 32 bits; the type that libc gives them is a long \
              with glibc, an int with musl"
)]
const TYPING: [u32; 2] = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32];

/// The machine's own calls. See AUDIT_ARCH in <linux/audit.h>.
#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURE: u32 = 0xC000_003E;
/// The machine's own calls. See AUDIT_ARCH in <linux/audit.h>.
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURE: u32 = 0xC000_00B7;

/// Installs `filter`, for this process and all its descendants.
///
/// Must run after [`reduce_to`](crate::privileges::reduce_to): without
/// `CAP_SYS_ADMIN` the kernel takes a filter only from a process that has set
/// `no_new_privs`, so that a filter can't lie to a set-user-ID program. And it
/// must be the last step before the init: from here on mount(2), unshare(2)
/// and sethostname(2) are refused to ourselves, too. See seccomp(2).
pub fn install(filter: &[sock_filter]) -> anyhow::Result<()> {
    install_with(0, filter)
}

/// Installs `filter`, for this process and all its descendants. The `flags` are
/// those of seccomp(2), such as `libc::SECCOMP_FILTER_FLAG_LOG`.
pub fn install_with(flags: u32, filter: &[sock_filter]) -> anyhow::Result<()> {
    sys::seccomp_set_mode_filter(flags, filter)
        .context("installing the filter of system calls")
}

/// The filter of step 6, as bpf(4) instructions: what it answers depends on the
/// architecture, then on the number, and for five calls on an argument.
pub fn filter() -> Vec<sock_filter> {
    let mut program = Program::default();
    let kill = program.answer(libc::SECCOMP_RET_KILL_PROCESS);
    let calls = answers(&mut program);
    let call = program.search(&calls);
    let call = program.load(offset_of!(seccomp_data, nr), call);

    // A number means something only together with the architecture: `int 0x80`
    // on x86-64 is a call of i386, where 21 is mount and not access.
    let known = program.branch(libc::BPF_JEQ, ARCHITECTURE, call, kill);
    program.load(offset_of!(seccomp_data, arch), known);
    program.finish()
}

/// What is answered to which numbers: each answer holds from its number up to
/// the next one. Numbers are compared without a sign, so that -1 and the calls
/// of x32 are above all others.
fn answers(program: &mut Program) -> Vec<(u32, Label)> {
    let allow = program.answer(libc::SECCOMP_RET_ALLOW);
    let refuse = program.answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    // The kernel's own answer where it lacks a call: a C library then takes
    // the older one. See Documentation/userspace-api/seccomp_filter.rst.
    let no_such_call =
        program.answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);

    // A new user namespace would give its maker all capabilities, inside it:
    // most of the kernel's recent holes were reached from there. One flag is
    // enough to be refused.
    let clone =
        program.branch(libc::BPF_JSET, NAMESPACES as u32, refuse, allow);
    let clone = program.load(argument(0), clone);
    let socket = program.is_one_of(&ADDRESS_FAMILIES, allow, refuse);
    let socket = program.load(argument(0), socket);
    let personality =
        program.branch(libc::BPF_JSET, !PERSONALITY, refuse, allow);
    let personality =
        program.branch(libc::BPF_JEQ, WHICH_PERSONALITY, allow, personality);
    let personality = program.load(argument(0), personality);
    let ioctl = program.is_one_of(&TYPING, refuse, allow);
    let ioctl = program.load(argument(1), ioctl);

    let one = |call: libc::c_long| {
        let number = u32::try_from(call).expect("numbers are positive");
        number..=number
    };
    // By number. The last one is for all that are above, too. No call that the
    // tables name is among those: a test would show it.
    let mut answers = [allow; FIRST_UNKNOWN as usize + 1];
    let mut set = |numbers: RangeInclusive<u32>, answer| {
        let last = FIRST_UNKNOWN.min(*numbers.end()) as usize;
        answers[*numbers.start() as usize..=last].fill(answer);
    };
    for &call in REFUSED.iter().chain(STRICTER_THAN_DOCKER) {
        set(one(call), refuse);
    }
    for numbers in NO_SUCH_CALL {
        set(numbers.clone(), no_such_call);
    }
    set(one(libc::SYS_clone), clone);
    set(one(libc::SYS_socket), socket);
    set(one(libc::SYS_socketpair), socket);
    set(one(libc::SYS_personality), personality);
    set(one(libc::SYS_ioctl), ioctl);

    let mut ranges: Vec<(u32, Label)> = Vec::new();
    for (from, answer) in (0..).zip(answers) {
        if ranges.last().is_none_or(|(_, last)| *last != answer) {
            ranges.push((from, answer));
        }
    }
    ranges
}

/// Where an argument is: its lower half, which comes first on both machines.
///
/// A register has 64 bits, but the kernel reads only 32 of all the arguments
/// that this filter looks at. A filter that compares 64 would take
/// `TIOCSTI | 1 << 32` for another request, and the kernel would not.
fn argument(index: usize) -> usize {
    offset_of!(seccomp_data, args) + index * size_of::<u64>()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What the kernel's machine answers to a call.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the machine has words of 32 bits: the lower ones of a long"
    )]
    fn run(filter: &[sock_filter], nr: i64, args: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset as usize {
            0 => nr as u32,
            4 => ARCHITECTURE,
            at => args[(at - offset_of!(seccomp_data, args)) / 8] as u32,
        };
        let (mut register, mut at) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = filter[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { jt } else { jf });
            match (u32::from(code) & 0x07, u32::from(code) & 0xf0) {
                (libc::BPF_LD, _) => register = word(k),
                (libc::BPF_JMP, libc::BPF_JEQ) => at += jump(register == k),
                (libc::BPF_JMP, libc::BPF_JGE) => at += jump(register >= k),
                (libc::BPF_JMP, libc::BPF_JSET) => {
                    at += jump(register & k != 0);
                }
                (libc::BPF_RET, _) => return k,
                _ => panic!("an instruction that we don't use: {code:#x}"),
            }
        }
    }

    fn allows(filter: &[sock_filter], nr: i64, args: [u64; 6]) -> bool {
        run(filter, nr, args) == libc::SECCOMP_RET_ALLOW
    }

    /// Names and numbers of the calls that Docker's profile allows.
    fn dockers() -> Vec<(String, i64)> {
        let list = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/data/docker-seccomp-allowed.txt"
        );
        let list = fs::read_to_string(list).expect("it is in the checkout");
        let column = if cfg!(target_arch = "x86_64") { 1 } else { 2 };
        list.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                let number = fields[column].parse().ok()?;
                Some((fields[0].to_owned(), number))
            })
            .collect()
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let filter = filter();
        let dockers = dockers();
        for nr in 0..1000 {
            if !dockers.iter().any(|(_, allowed)| *allowed == nr) {
                assert!(!allows(&filter, nr, [0; 6]), "call {nr}");
            }
        }
    }

    #[test]
    fn what_docker_allows_is_allowed_but_for_a_few() {
        let filter = filter();
        let mut stricter: Vec<String> = dockers()
            .into_iter()
            .filter(|(name, nr)| {
                let family = u64::from(name.starts_with("socket"));
                !allows(&filter, *nr, [family, 0, 0, 0, 0, 0])
            })
            // The kernel itself makes this one.
            .filter(|(name, _)| name != "uretprobe")
            .map(|(name, _)| name)
            .collect();
        stricter.sort();
        let mut expected = vec![
            "memfd_secret",
            "process_vm_readv",
            "process_vm_writev",
            "vmsplice",
        ];
        if cfg!(target_arch = "x86_64") {
            expected.insert(1, "modify_ldt");
        }
        assert_eq!(stricter, expected);
    }

    #[test]
    fn socket_and_socketpair_make_the_same_kinds() {
        let filter = filter();
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            for family in 0..100_u32 {
                let allowed =
                    allows(&filter, call, [family.into(), 0, 0, 0, 0, 0]);
                let expected = [
                    libc::AF_UNIX,
                    libc::AF_INET,
                    libc::AF_INET6,
                    libc::AF_NETLINK,
                ];
                let expected = expected.contains(&family.cast_signed());
                assert_eq!(allowed, expected, "family {family}");
            }
        }
    }

    /// As Docker's profile lists them.
    #[test]
    fn five_personalities_are_allowed() {
        let filter = filter();
        let allowed = [0, 0x8, 0x20000, 0x20008, 0xffff_ffff];
        let bits = (0..32).map(|bit| 1 << bit);
        for value in bits.chain(allowed).chain([0x60008, 0x20009, u32::MAX - 1])
        {
            let args = [value.into(), 0, 0, 0, 0, 0];
            let passes = allows(&filter, libc::SYS_personality, args);
            assert_eq!(passes, allowed.contains(&value), "{value:#x}");
        }
    }

    #[test]
    fn a_program_may_shut_itself_in_further() {
        let filter = filter();
        // landlock_create_ruleset, landlock_add_rule, landlock_restrict_self
        for call in [libc::SYS_seccomp, 444, 445, 446] {
            assert!(allows(&filter, call, [0; 6]), "call {call}");
        }
    }

    /// Its instructions are checked and translated at each start.
    #[test]
    fn the_filter_stays_short() {
        let length = filter().len();
        assert!(length <= 96, "{length} instructions");
    }
}
