//! A container in a mount namespace that is not its own: the runtime's, if none
//! is listed, or one that the file names by a path.
//!
//! To mount there would be to mount for all who are in it, the host's own
//! processes perhaps, and to leave it there; pivot_root(2) would take away their
//! root. So all that is mounted is mounted in a copy of the namespace. What is
//! made there is then carried over as a descriptor, attached nowhere: the
//! process returns and makes that its root. Nobody else sees it, and it is gone
//! with the last process that is in it.
//!
//! A root by chroot(2) is no wall: with CAP_SYS_ADMIN and CAP_SYS_CHROOT a
//! process finds the root of its mount namespace by setns(2). That is what the
//! file asks for, as by a network that is the host's. See namespaces(7).

use std::{os::fd::OwnedFd, path::Path};

use anyhow::Context;
use common::{
    host::paths::open_directory,
    sys::{self, NULL},
};
use nix::{fcntl::OFlag, mount::MsFlags, sched::CloneFlags, unistd::Pid};
use step06_full::mount_api;

use crate::namespaces::Namespaces;

/// Leaves a mount namespace that is shared for a copy of it, from which nothing
/// gets back. Returns the one that was left.
pub(crate) fn leave(
    namespaces: &Namespaces,
) -> anyhow::Result<Option<OwnedFd>> {
    if !namespaces.shares_mounts() {
        return Ok(None);
    }
    let leave = || -> anyhow::Result<OwnedFd> {
        let left = sys::open("/proc/self/ns/mnt", OFlag::O_RDONLY, 0)?;
        sys::unshare(CloneFlags::CLONE_NEWNS)?;
        Ok(left)
    };
    let left = leave().context("leaving the mount namespace that is shared")?;
    Ok(Some(left))
}

/// Goes back to it, with the root that was made meanwhile.
pub(crate) fn go_back(left: &OwnedFd) -> anyhow::Result<()> {
    let go_back = || -> anyhow::Result<()> {
        let all = libc::AT_RECURSIVE;
        let root = mount_api::copy_as_it_is(Path::new("/"), all)?;
        sys::setns(left, CloneFlags::CLONE_NEWNS)?;
        make_root(&root)
    };
    go_back().context("going back to the mount namespace that is shared")
}

/// Moves the mount at `new_root` over the root, for `--no-pivot`: the root of an
/// initramfs can't be taken away by pivot_root(2), only covered.
///
/// Who may unmount, inside, gets at what is below: an engine has to ask for it.
/// See switch_root(8).
pub(crate) fn cover_root(new_root: &Path) -> anyhow::Result<()> {
    let cover = || -> anyhow::Result<()> {
        sys::chdir(new_root)?;
        sys::mount(".", "/", NULL, MsFlags::MS_MOVE, NULL)?;
        Ok(sys::chroot(".")?)
    };
    cover().context("covering the root (--no-pivot)")
}

/// The root of the process `pid`, which no namespace leads to.
pub(crate) fn root_of(pid: Pid) -> anyhow::Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    open_directory(Path::new(&path))
}

/// Makes an open directory the root of this process.
pub(crate) fn make_root(directory: &OwnedFd) -> anyhow::Result<()> {
    sys::fchdir(directory)?;
    Ok(sys::chroot(".")?)
}
