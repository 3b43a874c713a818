//! Descriptors: what is open, whatever it is.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::c_int;
use nix::{
    errno::Errno,
    fcntl::{self, FcntlArg, OFlag, SealFlag},
    sys::statfs::{self, Statfs},
};

use super::{
    Error, Result,
    argument::{Argument, Bits, Names},
    call,
};

/// Standard input, output and error, in this order. To whom they lead somebody
/// else has decided.
pub fn standard_streams() -> [BorrowedFd<'static>; 3] {
    [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO].map(
        // SAFETY: nothing in this program closes these three, and where they
        // were closed at the start, Rust's runtime opened /dev/null on them.
        |number| unsafe { BorrowedFd::borrow_raw(number) },
    )
}

/// See close_range(2), since Linux 5.9. `flags` must have
/// `libc::CLOSE_RANGE_CLOEXEC`, since Linux 5.11, which only marks the
/// descriptors: without it the call would close what others own.
///
/// # Errors
/// `EINVAL` without that flag.
pub fn close_range(first: u32, last: u32, flags: u32) -> Result<()> {
    let marked = match flags & libc::CLOSE_RANGE_CLOEXEC {
        0 => Err(Errno::EINVAL),
        // SAFETY: the call takes three integers. It closes nothing, so no owner
        // of a descriptor in this program is affected.
        _ => Errno::result(unsafe {
            libc::syscall(libc::SYS_close_range, first, last, flags)
        }),
    };
    let flags = Bits(flags.into(), CLOSE_RANGE_FLAGS);
    call!(close_range(first, last, flags), marked.map(drop))
}

const CLOSE_RANGE_FLAGS: Names =
    &[("CLOSE_RANGE_CLOEXEC", libc::CLOSE_RANGE_CLOEXEC as u64)];

/// See flock(2). `operation` is `libc::LOCK_…`. The lock belongs to what was
/// opened: it lasts until the last copy of the descriptor is closed, in
/// whatever process that is.
///
/// # Errors
/// `EWOULDBLOCK` with `LOCK_NB`, when somebody else has the lock.
pub fn flock(fd: impl AsFd, operation: c_int) -> Result<()> {
    let fd = fd.as_fd();
    // SAFETY: the descriptor is borrowed, so open, and the call has no other
    // argument that could lead anywhere.
    let locked = unsafe { libc::flock(fd.as_raw_fd(), operation) };
    let operation = Bits::of(operation, LOCK_OPERATIONS);
    call!(flock(fd, operation), Errno::result(locked).map(drop))
}

const LOCK_OPERATIONS: Names = &[
    ("LOCK_SH", libc::LOCK_SH as u64),
    ("LOCK_EX", libc::LOCK_EX as u64),
    ("LOCK_UN", libc::LOCK_UN as u64),
    ("LOCK_NB", libc::LOCK_NB as u64),
];

/// See fcntl(2), `F_DUPFD_CLOEXEC`: one more descriptor, which is closed at
/// exec, for what `fd` is open on.
pub fn dup(fd: impl AsFd) -> Result<OwnedFd> {
    let fd = fd.as_fd();
    fd.try_clone_to_owned().map_err(|error| {
        let errno = Errno::try_from(error).unwrap_or(Errno::UnknownErrno);
        let fd = fd.text();
        Error::new(format!("fcntl({fd}, F_DUPFD_CLOEXEC, 3)"), errno)
    })
}

/// See fcntl(2), `F_GETFL`: how the file was opened.
pub fn fcntl_getfl(fd: impl AsFd) -> Result<OFlag> {
    let fd = fd.as_fd();
    let flags = fcntl::fcntl(fd, FcntlArg::F_GETFL).map_err(|errno| {
        Error::new(format!("fcntl({}, F_GETFL)", fd.text()), errno)
    })?;
    Ok(OFlag::from_bits_retain(flags))
}

/// See fcntl(2), `F_ADD_SEALS`: for a file of memfd_create(2) only.
pub fn fcntl_add_seals(fd: impl AsFd, seals: SealFlag) -> Result<()> {
    let fd = fd.as_fd();
    let sealed = fcntl::fcntl(fd, FcntlArg::F_ADD_SEALS(seals));
    sealed.map(drop).map_err(|errno| {
        let names: Vec<&str> = seals.iter_names().map(|(it, _)| it).collect();
        let (fd, seals) = (fd.text(), names.join("|"));
        Error::new(format!("fcntl({fd}, F_ADD_SEALS, {seals})"), errno)
    })
}

/// See fstatfs(2).
pub fn fstatfs(fd: impl AsFd) -> Result<Statfs> {
    let fd = fd.as_fd();
    call!(fstatfs(fd), statfs::fstatfs(fd))
}
