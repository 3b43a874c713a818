//! Programs in memory, which need no file system. See memfd_create(2).

use std::{ffi::CStr, os::fd::OwnedFd};

use anyhow::Context;
use nix::{
    errno::Errno,
    sys::memfd::{MFdFlags, memfd_create},
};

/// Makes a file in memory that may be executed and, in the end, sealed; it is
/// closed at exec.
///
/// # Errors
/// `EACCES` where `vm.memfd_noexec` is 2.
pub fn executable(name: &CStr) -> anyhow::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Before Linux 6.3 all may be executed, and the flag is unknown.
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    memfd_create(name, flags | executable)
        .or_else(|errno| match errno {
            Errno::EINVAL => memfd_create(name, flags),
            errno => Err(errno),
        })
        .context("memfd_create(MFD_ALLOW_SEALING|MFD_EXEC)")
}
