//! Memory: what is mapped, and what is shared.

use std::{ptr, sync::atomic::AtomicU32};

use libc::{c_int, c_void, key_t};
use nix::errno::Errno;

use super::{
    Result,
    argument::{Argument, Bits, Names, Word},
    call,
};

/// See mmap(2): new memory that is no file's, where the kernel finds place for
/// it. `prot` and `flags` are `libc::PROT_…` and `libc::MAP_…`.
#[track_caller]
pub fn mmap_anonymous(
    length: usize,
    prot: c_int,
    flags: c_int,
) -> Result<*mut c_void> {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let flags = flags & !(libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE);
    // SAFETY: without an address, and without MAP_FIXED, nothing that is mapped
    // already is touched.
    let mapped =
        unsafe { libc::mmap(ptr::null_mut(), length, prot, flags, -1, 0) };
    let mapped = match mapped {
        libc::MAP_FAILED => Err(Errno::last()),
        start => Ok(start),
    };
    let (prot, flags) = (Bits::of(prot, PROTECTIONS), Bits::of(flags, MAPS));
    call!(mmap(super::NULL, length, prot, flags, -1, 0), mapped)
}

/// A number that this process and all that it will fork see and change. Its
/// memory is never given back. See mmap(2).
pub(super) fn shared_number() -> Option<&'static AtomicU32> {
    let (prot, size) = (libc::PROT_READ | libc::PROT_WRITE, size_of::<u32>());
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: without an address nothing that is mapped already is touched.
    let mapped =
        unsafe { libc::mmap(ptr::null_mut(), size, prot, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: it begins with a page, is filled with zeros, may be read and
    // written, stays mapped, and nobody uses it in another way.
    Some(unsafe { AtomicU32::from_ptr(mapped.cast()) })
}

/// See mprotect(2).
///
/// # Safety
/// Nobody relies on it that the memory from `addr` on can be used in another way
/// than `prot` says.
#[track_caller]
pub unsafe fn mprotect(
    addr: *mut c_void,
    size: usize,
    prot: c_int,
) -> Result<()> {
    // SAFETY: by the caller's promise.
    let done = Errno::result(unsafe { libc::mprotect(addr, size, prot) });
    let prot = Bits::of(prot, PROTECTIONS);
    call!(mprotect(addr, size, prot), done.map(drop))
}

impl Argument for *mut c_void {
    fn text(&self) -> String {
        format!("{:p}", *self)
    }
}

const PROTECTIONS: Names = &[
    ("PROT_READ", libc::PROT_READ as u64),
    ("PROT_WRITE", libc::PROT_WRITE as u64),
    ("PROT_EXEC", libc::PROT_EXEC as u64),
];

const MAPS: Names = &[
    ("MAP_PRIVATE", libc::MAP_PRIVATE as u64),
    ("MAP_ANONYMOUS", libc::MAP_ANONYMOUS as u64),
    ("MAP_STACK", libc::MAP_STACK as u64),
];

/// See shmget(2): a new segment of shared memory, `IPC_PRIVATE`. `mode` are its
/// permissions.
#[track_caller]
pub fn shmget_private(size: usize, mode: c_int) -> Result<c_int> {
    let (key, flags): (key_t, _) = (libc::IPC_PRIVATE, libc::IPC_CREAT | mode);
    // SAFETY: the call takes numbers only.
    let id = Errno::result(unsafe { libc::shmget(key, size, flags) });
    call!(
        shmget(
            Word("IPC_PRIVATE".into()),
            size,
            Word(format!("IPC_CREAT|{mode:#o}").replace("0o", "0")),
        ),
        id
    )
}

/// See shmat(2): attaches the segment where the kernel finds place for it.
#[track_caller]
pub fn shmat(shmid: c_int) -> Result<*mut c_void> {
    // SAFETY: a null address lets the kernel choose, so that nothing is covered.
    let memory = unsafe { libc::shmat(shmid, ptr::null(), 0) };
    let memory = match memory as isize {
        -1 => Err(Errno::last()),
        _ => Ok(memory),
    };
    call!(shmat(shmid, super::NULL, 0), memory)
}

/// See shmctl(2), `IPC_RMID`: the segment goes with the last process that has it
/// attached. Until then its number can be used, in Linux.
#[track_caller]
pub fn shmctl_rmid(shmid: c_int) -> Result<()> {
    // SAFETY: IPC_RMID takes no buffer.
    let removed =
        unsafe { libc::shmctl(shmid, libc::IPC_RMID, ptr::null_mut()) };
    call!(
        shmctl(shmid, Word("IPC_RMID".into()), super::NULL),
        Errno::result(removed).map(drop)
    )
}
