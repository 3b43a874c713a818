//! The system calls that no namespace keeps inside a sandbox.
#![allow(unsafe_code)]

use std::mem::offset_of;

use anyhow::Context;
use libc::{seccomp_data, sock_filter, sock_fprog};
use nix::errno::Errno;

/// Keys belong to a user, in all namespaces; and what io_uring(7) does, no filter
/// sees. By the others a program would speak as the command that it has started:
/// it is its root, and may trace it. A kernel may be built without all of them.
const MISSING: [libc::c_long; 7] = [
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
];

/// The sockets that belong to a network namespace. Those of virtual machines,
/// `AF_VSOCK`, do not.
const FAMILIES: [libc::c_int; 5] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
    libc::AF_PACKET,
];

/// From <linux/audit.h>: calls have other numbers on another architecture.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else if cfg!(target_arch = "riscv64") {
    Some(0xc000_00f3)
} else {
    None
};

/// Numbers from here on are those of the x32 ABI.
const X32: u32 = 0x4000_0000;

/// Refuses these calls to this process, and to all that descend from it. It must
/// be root of its user namespace. See seccomp(2).
///
/// # Errors
/// That of the call.
pub(crate) fn install() -> anyhow::Result<()> {
    let mut filter = program();
    let program = sock_fprog {
        len: filter.len().try_into().context("a long program")?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the structure and the instructions live through the call, which
    // copies them.
    let installed = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    Errno::result(installed)
        .map(drop)
        .context("seccomp(SECCOMP_SET_MODE_FILTER)")
}

fn program() -> Vec<sock_filter> {
    let mut program = Vec::new();
    let missing = answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    if let Some(architecture) = ARCHITECTURE {
        program.push(load(offset_of!(seccomp_data, arch)));
        program.extend([jump(libc::BPF_JEQ, architecture, 1, 0), missing]);
    }
    program.push(load(offset_of!(seccomp_data, nr)));
    program.extend([jump(libc::BPF_JGE, X32, 0, 1), missing]);
    for call in MISSING {
        let call = number(call);
        program.extend([jump(libc::BPF_JEQ, call, 0, 1), missing]);
    }
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let socket = number(libc::SYS_socket);
    program.extend([jump(libc::BPF_JEQ, socket, 1, 0), allow]);
    // The lower half of the first argument: all that an int has.
    program.push(load(offset_of!(seccomp_data, args)));
    for family in FAMILIES {
        let family = family.cast_unsigned();
        program.extend([jump(libc::BPF_JEQ, family, 0, 1), allow]);
    }
    let no_family = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32;
    program.push(answer(no_family));
    program
}

/// That of a system call, as a filter sees it.
fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("numbers are positive")
}

/// Loads 32 bits of what is known about a call.
fn load(offset: usize) -> sock_filter {
    let code = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let offset = u32::try_from(offset).expect("within 64 bytes");
    instruction(code, offset, 0, 0)
}

/// Skips so many instructions, if the comparison holds or if not.
fn jump(comparison: u32, with: u32, yes: u8, no: u8) -> sock_filter {
    let code = libc::BPF_JMP | comparison | libc::BPF_K;
    instruction(code, with, yes, no)
}

fn answer(what: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, what, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("codes have 16 bits"),
        jt,
        jf,
        k,
    }
}
