//! Devices on version 2: a program that the kernel asks.
//!
//! There is no file for them. Instead a program is attached to the cgroup, and
//! whenever one of its processes opens a device, or makes a node for one, the
//! kernel runs the program: 1 is yes, 0 is no. See bpf(2) and the kernel's
//! documentation, bpf/prog_cgroup_device (before: admin-guide/cgroup-v2,
//! "Device controller").
//!
//! It is a program for the kernel's second BPF machine, the successor of the one
//! that runs filters of system calls. This one has eleven registers of 64 bits,
//! and instructions of eight bytes. When it starts, register 1 leads to what is
//! asked:
//!
//! ```text
//! struct bpf_cgroup_dev_ctx {
//!     __u32 access_type;  /* type: 1 block, 2 character; access << 16 */
//!     __u32 major;
//!     __u32 minor;
//! };
//! ```
//!
//! and when it ends, register 0 is the answer. A C compiler could write it; but
//! it is this short.

use std::{os::fd::BorrowedFd, path::Path};

use common::{
    host::paths::open_directory,
    sys::{self, bpf_insn},
};
use nix::errno::Errno;

use super::devices::{Access, Device, Devices, Kind};

/// The registers, and what each has in it here.
const ANSWER: u8 = 0;
const QUESTION: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// Attaches a program for these devices to `cgroup`, in place of those that are
/// attached to it.
///
/// The new one comes first, and the old ones go afterwards: several must agree,
/// so that there is no moment in which more is allowed.
pub(super) fn attach(devices: &Devices, cgroup: &Path) -> anyhow::Result<()> {
    let directory = open_directory(cgroup)?;
    let directory = std::os::fd::AsFd::as_fd(&directory);
    let kind = sys::BPF_PROG_TYPE_CGROUP_DEVICE;
    let program = sys::bpf_prog_load(kind, &program(devices), c"GPL")?;
    let old = sys::bpf_prog_query(directory, sys::BPF_CGROUP_DEVICE)?;
    // The cgroup has the program now: it stays when the descriptor is closed,
    // and goes with the cgroup.
    sys::bpf_prog_attach(
        directory,
        &program,
        sys::BPF_CGROUP_DEVICE,
        sys::BPF_F_ALLOW_MULTI,
    )?;
    old.into_iter().try_for_each(|id| detach(directory, id))
}

fn detach(cgroup: BorrowedFd, id: u32) -> anyhow::Result<()> {
    let detached = sys::bpf_prog_get_fd_by_id(id).and_then(|program| {
        sys::bpf_prog_detach(cgroup, program, sys::BPF_CGROUP_DEVICE)
    });
    match detached {
        // Somebody else was faster.
        Err(error) if error.errno == Errno::ENOENT => Ok(()),
        detached => Ok(detached?),
    }
}

/// The program: takes the question apart, compares it with one exception after
/// the other, and has an answer for what is none of them.
pub(super) fn program(devices: &Devices) -> Vec<bpf_insn> {
    let mut program = vec![
        load(KIND, 0),
        copy(ACCESS, KIND),
        shift_right(ACCESS, 16),
        and(KIND, 0xffff),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for (device, access) in &devices.exceptions {
        program.extend(exception(device, *access, devices.allowed));
    }
    program.extend(answer(devices.allowed));
    program
}

/// Answers if the question is about this device, otherwise goes on behind.
fn exception(device: &Device, access: Access, allowed: bool) -> Vec<bpf_insn> {
    let kind = match device.kind {
        Kind::Block => 1,
        Kind::Character => 2,
    };
    let tests = [
        Some((KIND, kind)),
        device.major.map(|it| (MAJOR, it.cast_signed())),
        device.minor.map(|it| (MINOR, it.cast_signed())),
    ];
    let tests: Vec<(u8, i32)> = tests.into_iter().flatten().collect();
    // Where all is refused, this is allowed if no more is asked for than that.
    // Where all is allowed, this is refused if any of it is asked for.
    let ends = answer(!allowed);
    let asked = match allowed {
        false => [
            copy(SCRATCH, ACCESS),
            and(SCRATCH, !access.bits()),
            skip_unless_equal(SCRATCH, 0, ends.len()),
        ],
        true => [
            copy(SCRATCH, ACCESS),
            and(SCRATCH, access.bits()),
            skip_if_equal(SCRATCH, 0, ends.len()),
        ],
    };
    let length = tests.len() + asked.len() + ends.len();
    let tests = tests.into_iter().enumerate();
    tests
        .map(|(at, (register, number))| {
            skip_unless_equal(register, number, length - at - 1)
        })
        .chain(asked)
        .chain(ends)
        .collect()
}

/// Ends the program.
fn answer(yes: bool) -> [bpf_insn; 2] {
    let set = libc::BPF_K | BPF_MOV;
    let value = i32::from(yes);
    [
        instruction(BPF_ALU64 | set, ANSWER, 0, 0, value),
        instruction(libc::BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    ]
}

/// What the second machine has more than the first, whose codes libc knows. See
/// <linux/bpf.h>.
const BPF_ALU64: u32 = 0x07;
const BPF_MOV: u32 = 0xb0;
const BPF_JNE: u32 = 0x50;
const BPF_EXIT: u32 = 0x90;

/// Takes a word of the question.
fn load(register: u8, offset: i16) -> bpf_insn {
    let code = libc::BPF_LDX | libc::BPF_MEM | libc::BPF_W;
    instruction(code, register, QUESTION, offset, 0)
}

fn copy(register: u8, from: u8) -> bpf_insn {
    let code = BPF_ALU64 | BPF_MOV | libc::BPF_X;
    instruction(code, register, from, 0, 0)
}

fn shift_right(register: u8, bits: i32) -> bpf_insn {
    let code = BPF_ALU64 | libc::BPF_RSH | libc::BPF_K;
    instruction(code, register, 0, 0, bits)
}

fn and(register: u8, mask: i32) -> bpf_insn {
    let code = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
    instruction(code, register, 0, 0, mask)
}

fn skip_if_equal(register: u8, number: i32, count: usize) -> bpf_insn {
    skip(libc::BPF_JEQ, register, number, count)
}

fn skip_unless_equal(register: u8, number: i32, count: usize) -> bpf_insn {
    skip(BPF_JNE, register, number, count)
}

fn skip(comparison: u32, register: u8, number: i32, count: usize) -> bpf_insn {
    let count = i16::try_from(count).expect("an exception is short");
    let code = libc::BPF_JMP | comparison | libc::BPF_K;
    instruction(code, register, 0, count, number)
}

fn instruction(code: u32, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
    let code = u8::try_from(code).expect("codes have eight bits");
    let registers = to | from << 4;
    bpf_insn {
        code,
        registers,
        off,
        imm,
    }
}
