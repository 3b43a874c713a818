//! Programs in memory, which need no file system.

use std::{ffi::CStr, os::fd::OwnedFd};

use nix::{
    errno::Errno,
    sys::memfd::{self, MFdFlags},
};

use super::{
    Result,
    argument::{Bits, Names},
    call,
};

/// Makes a file in memory that may be executed and, in the end, sealed; it is
/// closed at exec.
///
/// # Errors
/// `EACCES` where `vm.memfd_noexec` is 2.
#[track_caller]
pub fn executable(name: &CStr) -> anyhow::Result<OwnedFd> {
    let flags = MFdFlags::MFD_ALLOW_SEALING;
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    match memfd_create(name, flags | executable) {
        // Before Linux 6.3 all may be executed, and the flag is unknown.
        Err(error) if error.errno == Errno::EINVAL => {
            Ok(memfd_create(name, flags)?)
        }
        made => Ok(made?),
    }
}

/// See memfd_create(2), since Linux 3.17. The descriptor is closed at exec.
#[track_caller]
fn memfd_create(name: &CStr, flags: MFdFlags) -> Result<OwnedFd> {
    let flags = flags | MFdFlags::MFD_CLOEXEC;
    let made = memfd::memfd_create(name, flags);
    let flags = Bits(flags.bits().into(), MEMFD_FLAGS);
    call!(memfd_create(name, flags), made)
}

/// In the order of their numbers, as strace(1) prints them.
const MEMFD_FLAGS: Names = &[
    ("MFD_CLOEXEC", libc::MFD_CLOEXEC as u64),
    ("MFD_ALLOW_SEALING", libc::MFD_ALLOW_SEALING as u64),
    ("MFD_EXEC", libc::MFD_EXEC as u64),
];
