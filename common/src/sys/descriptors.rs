//! Open descriptors, whatever they lead to.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libc::c_int;
use nix::errno::Errno;

use super::{
    Error, Result,
    argument::{Argument, Bits, Names},
    call,
};

/// See flock(2). `operation` is `libc::LOCK_…`. The lock belongs to what was
/// opened: it lasts until the last copy of the descriptor is closed, in
/// whatever process that is.
///
/// # Errors
/// `EWOULDBLOCK`: with `LOCK_NB`, when somebody else has the lock.
pub fn flock(fd: impl AsFd, operation: c_int) -> Result<()> {
    let fd = fd.as_fd();
    // SAFETY: the descriptor is borrowed, so open, and the call has no other
    // argument that could lead anywhere.
    let locked = unsafe { libc::flock(fd.as_raw_fd(), operation) };
    let operation = Bits(operation as u64, LOCK_OPERATIONS);
    call!(flock(fd, operation), Errno::result(locked).map(drop))
}

const LOCK_OPERATIONS: Names = &[
    ("LOCK_SH", libc::LOCK_SH as u64),
    ("LOCK_EX", libc::LOCK_EX as u64),
    ("LOCK_UN", libc::LOCK_UN as u64),
    ("LOCK_NB", libc::LOCK_NB as u64),
];

/// See dup(2). The copy is closed at exec, which needs fcntl(2),
/// F_DUPFD_CLOEXEC.
pub fn dup(oldfd: impl AsFd) -> Result<OwnedFd> {
    let oldfd = oldfd.as_fd();
    oldfd.try_clone_to_owned().map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
        // Not to be mistaken for standard input, output and error.
        Error::new(
            format!("fcntl({}, F_DUPFD_CLOEXEC, 3)", oldfd.text()),
            errno,
        )
    })
}
