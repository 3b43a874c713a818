//! Mounts as descriptors instead of paths.
//!
//! mount(2) names both sides of a mount by path, so the process that mounts
//! must be able to see both. There are calls that split that: open_tree(2)
//! takes a copy of a mount that is attached nowhere and lives as a descriptor,
//! also across fork(2); mount_setattr(2) changes it while nobody uses it yet;
//! move_mount(2) attaches it, in another mount namespace if need be. So the
//! parent can fetch what only it may read, and the container gets exactly that.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use common::sys::{self, NULL};
use libc::mount_attr;
use nix::{fcntl::AT_FDCWD, mount::MsFlags};

/// Copies the mount at `path` and gives the copy, attached nowhere, as a
/// descriptor that is closed at exec.
///
/// With `flags` 0 it is the one mount, with `libc::AT_RECURSIVE` also those
/// below it. When the last descriptor of an unattached copy is closed, the
/// copy is gone. The copy is private: the kernel would leave it in the peer
/// group of its original, and what a container mounts on it would appear on
/// the host. Since Linux 5.2, private since 5.12. See open_tree(2) and
/// mount_namespaces(7), "Shared subtrees".
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN over our mount namespace; `EINVAL` for a `path`
/// in another one, and for a single mount that others, locked by a user
/// namespace, lie below.
#[track_caller]
pub fn copy(path: &Path, flags: libc::c_int) -> sys::Result<OwnedFd> {
    let mount = copy_as_it_is(path, flags)?;
    let private = mount_attr {
        propagation: libc::MS_PRIVATE,
        ..sys::NO_ATTR
    };
    set(&mount, libc::AT_RECURSIVE, &private)?;
    Ok(mount)
}

/// The same, in the peer group of its original if that has one. See
/// mount_namespaces(7).
#[track_caller]
pub fn copy_as_it_is(path: &Path, flags: libc::c_int) -> sys::Result<OwnedFd> {
    let clone = libc::OPEN_TREE_CLONE | flags.cast_unsigned();
    sys::open_tree(AT_FDCWD, path, clone)
}

/// Attaches a mount from [`copy`] at the open file or directory `target`.
///
/// The descriptor `mount` stays usable and names the attached mount from then
/// on. Since Linux 5.2. See move_mount(2).
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN over the mount namespace; `EINVAL` when that is
/// not the namespace of `target`, or when one side is a directory and the other
/// is not.
#[track_caller]
pub fn attach(mount: impl AsFd, target: impl AsFd) -> sys::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    sys::move_mount(mount, "", target, "", flags)
}

/// Adds the attributes `attr_set` (`libc::MOUNT_ATTR_…`) to those of `mount`.
///
/// With `flags` 0 of the one mount, with `libc::AT_RECURSIVE` also of those
/// below it: then all are changed or, on an error, none. This is what
/// `MS_REMOUNT` can't do: it replaces all flags, of one mount only. Since Linux
/// 5.12. See mount_setattr(2).
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN over the mount namespace; `EINVAL` when `mount`
/// is not the root of a mount.
#[track_caller]
pub fn add_attributes(
    mount: impl AsFd,
    flags: libc::c_int,
    attr_set: u64,
) -> sys::Result<()> {
    set(mount, flags, &adding(attr_set))
}

/// The same for the mount at `path`, which must not have been looked up in an
/// image: a symbolic link is followed.
#[track_caller]
pub fn add_attributes_at(
    path: impl AsRef<Path>,
    flags: libc::c_int,
    attr_set: u64,
) -> sys::Result<()> {
    sys::mount_setattr(AT_FDCWD, path, flags, &adding(attr_set))
}

fn adding(attr_set: u64) -> mount_attr {
    mount_attr {
        attr_set,
        ..sys::NO_ATTR
    }
}

/// Makes `mount` and all mounts below it show their files with the ids of the
/// user namespace `userns` (an open `/proc/PID/ns/user`): a file that the disk
/// says belongs to id 0 belongs, seen through this mount, to whom `userns`
/// maps its id 0.
///
/// `mount` must come from [`copy`] and be attached nowhere yet. Since Linux 5.12.
/// See mount_setattr(2), "ID-mapped mounts".
///
/// # Errors
/// `EINVAL` when a file system can't do that (overlayfs, NFS, tmpfs before 6.3),
/// when `mount` is attached or has such a mapping already; `EPERM` without
/// CAP_SYS_ADMIN in the user namespace that the *file system* belongs to: in
/// practice, for all but real root.
#[track_caller]
pub fn map_ids(mount: impl AsFd, userns: impl AsFd) -> sys::Result<()> {
    map_ids_of(mount, userns, libc::AT_RECURSIVE)
}

/// The same; with `flags` 0 of the one mount, with `libc::AT_RECURSIVE` also of
/// those below it.
#[track_caller]
pub fn map_ids_of(
    mount: impl AsFd,
    userns: impl AsFd,
    flags: libc::c_int,
) -> sys::Result<()> {
    let attr = mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        userns_fd: userns.as_fd().as_raw_fd().cast_unsigned().into(),
        ..sys::NO_ATTR
    };
    set(mount, flags, &attr)
}

/// Changes the mount that is open as `mount` in whatever way `attr` says; with
/// `flags` 0 the one mount, with `libc::AT_RECURSIVE` also those below it. See
/// mount_setattr(2).
#[track_caller]
pub fn set(
    mount: impl AsFd,
    flags: libc::c_int,
    attr: &mount_attr,
) -> sys::Result<()> {
    sys::mount_setattr(mount, "", libc::AT_EMPTY_PATH | flags, attr)
}

/// Shows the file or directory `source` at `target` too, without what is mounted
/// below it: mount(2) by two paths, for what lies on our own side already. See
/// mount(2), `MS_BIND`.
///
/// # Errors
/// `ENOENT` when one of the two does not exist; `ENOTDIR` when only one of them
/// is a directory.
#[track_caller]
pub(crate) fn bind(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
) -> sys::Result<()> {
    sys::mount(source.as_ref(), target, NULL, MsFlags::MS_BIND, NULL)
}
