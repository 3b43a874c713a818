//! The mount calls that work on descriptors instead of paths.
//!
//! mount(2) names both sides of a mount by path, so the process that mounts
//! must be able to see both. The calls here split that: [`open_tree`] takes a
//! copy of a mount that is attached nowhere and lives as a descriptor, also
//! across fork(2); [`mount_setattr`] changes it while nobody uses it yet;
//! [`move_mount`] attaches it, in another mount namespace if need be. So the
//! parent can fetch what only it may read, and the container gets exactly that.
//!
//! nix has no wrappers for them, and their errors need the path that only the
//! caller knows: they return the bare errno. See open_tree(2), move_mount(2)
//! and mount_setattr(2).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::Context;
use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MsFlags, mount};

/// Copies the mount at `path` and gives the copy, attached nowhere, as a
/// descriptor that is closed at exec.
///
/// With `flags` 0 it is the one mount, with `libc::AT_RECURSIVE` also those
/// below it. When the last descriptor of an unattached copy is closed, the
/// copy is gone. The copy is private: the kernel would leave it in the peer
/// group of its original, and what a container mounts on it would appear on
/// the host.
///
/// Errors: `EPERM` without CAP_SYS_ADMIN over the mount namespace that `path`
/// is in; `EINVAL` for a single mount that others, locked by a user namespace,
/// lie below. Since Linux 5.2, private since 5.12. See open_tree(2) and
/// mount_namespaces(7), "Shared subtrees".
pub fn open_tree(path: &Path, flags: libc::c_int) -> nix::Result<OwnedFd> {
    let flags =
        flags as libc::c_uint | libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    let fd = path.with_nix_path(|path| {
        // SAFETY: `path` is NUL-terminated and lives through the call, which
        // only reads it.
        unsafe {
            libc::syscall(
                libc::SYS_open_tree,
                libc::AT_FDCWD,
                path.as_ptr(),
                flags,
            )
        }
    })?;
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing
    // else in the program knows its number.
    let mount = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };

    let private = libc::mount_attr {
        attr_set: 0,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    set_attributes(&mount, Path::new(""), libc::AT_RECURSIVE, private)?;
    Ok(mount)
}

/// Attaches a mount from [`open_tree`] at `to_path`, relative to `to_dirfd`;
/// with an empty `to_path` at `to_dirfd` itself.
///
/// A symbolic link as the last component of `to_path` is not followed. The
/// descriptor `mount` stays usable and names the attached mount from then on.
///
/// Errors: `EPERM` without CAP_SYS_ADMIN over the mount namespace; `EINVAL`
/// when that is not the namespace of `to_dirfd`, or when one side is a directory
/// and the other is not. Since Linux 5.2. See move_mount(2).
pub fn move_mount(
    mount: impl AsFd,
    to_dirfd: impl AsFd,
    to_path: &Path,
) -> nix::Result<()> {
    let done = to_path.with_nix_path(|to_path| {
        // SAFETY: both paths are NUL-terminated and live through the call,
        // which only reads them; both descriptors are borrowed, so open.
        unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                mount.as_fd().as_raw_fd(),
                c"".as_ptr(),
                to_dirfd.as_fd().as_raw_fd(),
                to_path.as_ptr(),
                libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH,
            )
        }
    })?;
    Errno::result(done).map(drop)
}

/// Sets the attributes `attr_set` (`libc::MOUNT_ATTR_…`) of `mount` and leaves
/// its others as they are.
///
/// With `flags` 0 of the one mount, with `libc::AT_RECURSIVE` also of those
/// below it: then all are changed or, on an error, none. This is what
/// `MS_REMOUNT` can't do: it replaces all flags, of one mount only.
///
/// Errors: `EPERM` without CAP_SYS_ADMIN over the mount namespace; `EINVAL`
/// when `mount` is not the root of a mount. Since Linux 5.12. See
/// mount_setattr(2).
pub fn mount_setattr(
    mount: impl AsFd,
    flags: libc::c_int,
    attr_set: u64,
) -> nix::Result<()> {
    set_attributes(mount, Path::new(""), flags, adding(attr_set))
}

/// The same for the mount at `path`, which must not have been looked up in an
/// image: a symbolic link is followed.
pub fn mount_setattr_at(
    path: &Path,
    flags: libc::c_int,
    attr_set: u64,
) -> nix::Result<()> {
    set_attributes(AT_FDCWD, path, flags, adding(attr_set))
}

fn adding(attr_set: u64) -> libc::mount_attr {
    libc::mount_attr {
        attr_set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    }
}

/// Makes `mount` and all mounts below it show their files with the ids of the
/// user namespace `userns` (an open `/proc/PID/ns/user`): a file that the disk
/// says belongs to id 0 belongs, seen through this mount, to whom `userns`
/// maps its id 0.
///
/// `mount` must come from [`open_tree`] and be attached nowhere yet.
///
/// Errors: `EINVAL` when a file system can't do that (overlayfs, NFS, tmpfs
/// before 6.3), when `mount` is attached or has such a mapping already;
/// `EPERM` without CAP_SYS_ADMIN in the user namespace that the *file system*
/// belongs to: in practice, for all but real root. Since Linux 5.12. See
/// mount_setattr(2), "ID-mapped mounts".
pub fn map_ids(mount: impl AsFd, userns: impl AsFd) -> nix::Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: userns.as_fd().as_raw_fd() as u64,
    };
    set_attributes(mount, Path::new(""), libc::AT_RECURSIVE, attr)
}

/// mount_setattr(2), on the mount that `dirfd` names if `path` is empty.
fn set_attributes(
    dirfd: impl AsFd,
    path: &Path,
    flags: libc::c_int,
    attr: libc::mount_attr,
) -> nix::Result<()> {
    let done = path.with_nix_path(|path| {
        // SAFETY: `path` is NUL-terminated, and it and `attr` live through the
        // call, which only reads them: of `attr` as many bytes as the last
        // argument says. The descriptor is borrowed, so open.
        unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                dirfd.as_fd().as_raw_fd(),
                path.as_ptr(),
                libc::AT_EMPTY_PATH | flags,
                &raw const attr,
                size_of::<libc::mount_attr>(),
            )
        }
    })?;
    Errno::result(done).map(drop)
}

/// Shows the file or directory `source` at `target` too, without what is mounted
/// below it: mount(2) by two paths, for what lies on our own side already.
///
/// Errors: `ENOENT` when one of the two does not exist, `ENOTDIR` when only one
/// of them is a directory. See mount(2), `MS_BIND`.
pub(crate) fn bind(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
) -> anyhow::Result<()> {
    let (source, target) = (source.as_ref(), target.as_ref());
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| format!("mount({source:?}, {target:?}, MS_BIND)"))
}
