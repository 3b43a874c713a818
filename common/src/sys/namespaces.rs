//! Namespaces: into them, and whose they are. See namespaces(7).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::sched::{self, CloneFlags};

use super::{Result, argument::Word, call};

/// See unshare(2).
#[track_caller]
pub fn unshare(flags: CloneFlags) -> Result<()> {
    call!(unshare(flags), sched::unshare(flags))
}

/// See setns(2): enters the namespace that `fd` is open on. With `nstype` 0 it
/// may be of any kind.
#[track_caller]
pub fn setns(fd: impl AsFd, nstype: CloneFlags) -> Result<()> {
    let fd = fd.as_fd();
    call!(setns(fd, nstype), sched::setns(fd, nstype))
}

/// `CLONE_NEWTIME` of `<linux/sched.h>`, since Linux 5.6, which nix lacks. It
/// takes the place of the exit signal, so clone(2) does not have it.
pub const CLONE_NEWTIME: CloneFlags =
    CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);

/// Without their texts.
mod raw {
    // From <linux/nsfs.h>.
    nix::ioctl_none!(ns_get_userns, 0xb7, 0x1);
    nix::ioctl_none!(ns_get_nstype, 0xb7, 0x3);
}

/// See ioctl_ns(2), `NS_GET_USERNS`, since Linux 4.9: the user namespace that
/// the namespace `fd` belongs to.
///
/// # Errors
/// `EPERM` where that is not ours, nor one below ours.
#[track_caller]
pub fn ioctl_ns_get_userns(fd: impl AsFd) -> Result<OwnedFd> {
    let fd = fd.as_fd();
    // SAFETY: the call has no argument.
    let owner = unsafe { raw::ns_get_userns(fd.as_raw_fd()) };
    let number = call!(ioctl(fd, Word("NS_GET_USERNS".into())), owner)?;
    // SAFETY: the kernel has just made this descriptor for us; it is closed at
    // exec.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// See ioctl_ns(2), `NS_GET_NSTYPE`, since Linux 4.11: of what kind the namespace
/// `fd` is, as a flag of clone(2).
///
/// # Errors
/// `ENOTTY` for what is no namespace.
#[track_caller]
pub fn ioctl_ns_get_nstype(fd: impl AsFd) -> Result<CloneFlags> {
    let fd = fd.as_fd();
    // SAFETY: the call has no argument.
    let kind = unsafe { raw::ns_get_nstype(fd.as_raw_fd()) };
    let kind = call!(ioctl(fd, Word("NS_GET_NSTYPE".into())), kind)?;
    Ok(CloneFlags::from_bits_retain(kind))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_namespace_has_a_kind_and_an_owner() {
        let open = |kind| File::open(format!("/proc/self/ns/{kind}"));
        let kind_of = |file| ioctl_ns_get_nstype(file);
        let uts = open("uts").expect("a namespace");
        assert_eq!(kind_of(&uts), Ok(CloneFlags::CLONE_NEWUTS));
        // In a container it may be out of reach.
        if let Ok(owner) = ioctl_ns_get_userns(&uts) {
            let owner = File::from(owner);
            assert_eq!(kind_of(&owner), Ok(CloneFlags::CLONE_NEWUSER));
        }
    }
}
