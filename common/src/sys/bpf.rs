//! bpf(2): programs that the kernel runs where they are attached.

use std::{
    ffi::{CStr, c_int},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use libc::c_long;
use nix::errno::Errno;

use super::{
    Result,
    argument::{Argument, Bits, Names, quote},
    finish, int,
};

/// An instruction: `struct bpf_insn` in <linux/bpf.h>.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct bpf_insn {
    /// What it does.
    pub code: u8,
    /// The register that is changed, and above it, four bits further, the one
    /// that is read.
    pub registers: u8,
    /// An offset into memory, or how many instructions to skip.
    pub off: i16,
    /// A number.
    pub imm: i32,
}

/// A program that is asked when a device is opened or made: the type that
/// `BPF_PROG_LOAD` wants, since Linux 4.15.
pub const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;

/// Where such a program is attached: to a cgroup of version 2.
pub const BPF_CGROUP_DEVICE: u32 = 6;

/// For [`bpf_prog_attach`]: beside the programs that are there.
pub const BPF_F_ALLOW_MULTI: u32 = 1 << 1;

const ATTACH_FLAGS: Names = &[("BPF_F_ALLOW_MULTI", BPF_F_ALLOW_MULTI as u64)];

/// The commands, by their places in `enum bpf_cmd`.
const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_ATTACH: c_int = 8;
const BPF_PROG_DETACH: c_int = 9;
const BPF_PROG_GET_FD_BY_ID: c_int = 13;
const BPF_PROG_QUERY: c_int = 16;

/// See bpf(2), `BPF_PROG_LOAD`. The kernel follows all paths through the program,
/// and refuses one that does not end, or reads what it must not.
#[track_caller]
pub fn bpf_prog_load(
    prog_type: u32,
    insns: &[bpf_insn],
    license: &CStr,
) -> Result<OwnedFd> {
    /// The beginning of `union bpf_attr` for this command: the kernel takes
    /// what is missing for zeros.
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    let length = insns.len();
    let loaded = u32::try_from(length).map_err(|_| Errno::E2BIG);
    let loaded = loaded.and_then(|insn_cnt| {
        let mut attr = Load {
            prog_type,
            insn_cnt,
            insns: insns.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
        };
        // SAFETY: `insns` points to as many instructions as we say, `license`
        // to a string with its NUL; both live through the call, which copies
        // them.
        unsafe { bpf(BPF_PROG_LOAD, &mut attr) }
    });
    let fd = finish(loaded, || {
        let license = quote(license.to_bytes(), 32);
        let attr = format!(
            "{{prog_type={prog_type}, insn_cnt={length}, insns=..., \
             license={license}}}"
        );
        format!("bpf(BPF_PROG_LOAD, {attr}, {})", size_of::<Load>())
    })?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else
    // in the program knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
}

/// What attaching and detaching take: the beginning of `union bpf_attr`.
#[repr(C)]
struct Attach {
    target_fd: c_int,
    attach_bpf_fd: c_int,
    attach_type: u32,
    attach_flags: u32,
}

/// See bpf(2), `BPF_PROG_ATTACH`: from now on the kernel asks the program for
/// the processes in the cgroup `target_fd`, and in those below.
#[track_caller]
pub fn bpf_prog_attach(
    target_fd: impl AsFd,
    attach_bpf_fd: impl AsFd,
    attach_type: u32,
    attach_flags: u32,
) -> Result<()> {
    let (target, program) = (target_fd.as_fd(), attach_bpf_fd.as_fd());
    let mut attr = attach(target, program, attach_type, attach_flags);
    // SAFETY: for this command the structure has no pointers in it.
    let attached = unsafe { bpf(BPF_PROG_ATTACH, &mut attr) };
    finish(attached.map(drop), || {
        let flags = Bits(attach_flags.into(), ATTACH_FLAGS).text();
        let attr = attach_text(target, program, attach_type);
        let size = size_of::<Attach>();
        format!(
            "bpf(BPF_PROG_ATTACH, {{{attr}, attach_flags={flags}}}, {size})"
        )
    })
}

/// See bpf(2), `BPF_PROG_DETACH`.
#[track_caller]
pub fn bpf_prog_detach(
    target_fd: impl AsFd,
    attach_bpf_fd: impl AsFd,
    attach_type: u32,
) -> Result<()> {
    let (target, program) = (target_fd.as_fd(), attach_bpf_fd.as_fd());
    let mut attr = attach(target, program, attach_type, 0);
    // SAFETY: for this command the structure has no pointers in it.
    let detached = unsafe { bpf(BPF_PROG_DETACH, &mut attr) };
    finish(detached.map(drop), || {
        let attr = attach_text(target, program, attach_type);
        format!("bpf(BPF_PROG_DETACH, {{{attr}}}, {})", size_of::<Attach>())
    })
}

fn attach(
    target: BorrowedFd,
    program: BorrowedFd,
    attach_type: u32,
    attach_flags: u32,
) -> Attach {
    Attach {
        target_fd: target.as_raw_fd(),
        attach_bpf_fd: program.as_raw_fd(),
        attach_type,
        attach_flags,
    }
}

fn attach_text(
    target: BorrowedFd,
    program: BorrowedFd,
    attach_type: u32,
) -> String {
    let (target, program) = (target.text(), program.text());
    format!(
        "target_fd={target}, attach_bpf_fd={program}, \
         attach_type={attach_type}"
    )
}

/// See bpf(2), `BPF_PROG_QUERY`: the numbers of the programs that are attached
/// to the cgroup `target_fd` itself, at most 64 of them.
///
/// # Errors
/// `ENOSPC` if there are more.
#[track_caller]
pub fn bpf_prog_query(
    target_fd: impl AsFd,
    attach_type: u32,
) -> Result<Vec<u32>> {
    #[repr(C)]
    struct Query {
        target_fd: c_int,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
    }
    let target = target_fd.as_fd();
    let mut ids = [0_u32; 64];
    let mut attr = Query {
        target_fd: target.as_raw_fd(),
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        padding: 0,
    };
    // SAFETY: `prog_ids` points to room for as many numbers as `prog_cnt` says,
    // which lives through the call.
    let asked = unsafe { bpf(BPF_PROG_QUERY, &mut attr) };
    finish(asked, || {
        let target = target.text();
        let attr = format!(
            "{{target_fd={target}, attach_type={attach_type}, query_flags=0, \
             prog_cnt=64}}"
        );
        format!("bpf(BPF_PROG_QUERY, {attr}, {})", size_of::<Query>())
    })?;
    let count = usize::try_from(attr.prog_cnt).unwrap_or(0);
    Ok(ids.into_iter().take(count).collect())
}

/// See bpf(2), `BPF_PROG_GET_FD_BY_ID`.
///
/// # Errors
/// `ENOENT` if the program is gone.
#[track_caller]
pub fn bpf_prog_get_fd_by_id(prog_id: u32) -> Result<OwnedFd> {
    let mut attr = [prog_id, 0, 0];
    let size = size_of_val(&attr);
    // SAFETY: for this command the structure has no pointers in it.
    let opened = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attr) };
    let fd = finish(opened, || {
        format!("bpf(BPF_PROG_GET_FD_BY_ID, {{prog_id={prog_id}}}, {size})")
    })?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else
    // in the program knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
}

/// # Safety
/// `attr` is what the command wants, and where it has a pointer, that leads to
/// what the command wants there.
unsafe fn bpf<T>(command: c_int, attr: &mut T) -> nix::Result<c_long> {
    let size = size_of::<T>();
    // SAFETY: the kernel reads and writes as many bytes as there are; the rest
    // is promised by the caller.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_calls_are_printed_as_by_strace() {
        let place = File::open("/").expect("there is a root");
        let fd = place.as_raw_fd();
        let failed = bpf_prog_attach(&place, &place, 6, 2);
        let error = failed.expect_err("it is no cgroup");
        assert_eq!(
            error.to_string(),
            format!(
                "bpf(BPF_PROG_ATTACH, {{target_fd={fd}</>, \
                 attach_bpf_fd={fd}</>, attach_type=6, \
                 attach_flags=BPF_F_ALLOW_MULTI}}, 16)"
            )
        );
        let failed = bpf_prog_load(15, &[], c"GPL");
        let error = failed.expect_err("it has no end");
        assert_eq!(
            error.to_string(),
            "bpf(BPF_PROG_LOAD, {prog_type=15, insn_cnt=0, insns=..., \
             license=\"GPL\"}, 48)"
        );
    }
}
