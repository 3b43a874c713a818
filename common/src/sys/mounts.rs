//! What is mounted where.

use std::{
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    ptr,
};

use libc::{c_int, mount_attr};
use nix::{
    NixPath,
    errno::Errno,
    mount::{MntFlags, MsFlags},
};

use super::{
    OrNull, Result,
    argument::{Argument, Bits, Names},
    call, int,
};

/// See mount(2).
#[track_caller]
pub fn mount(
    source: impl OrNull,
    target: impl AsRef<Path>,
    fstype: impl OrNull,
    flags: MsFlags,
    data: impl OrNull,
) -> Result<()> {
    let (source, target) = (source.or_null(), target.as_ref());
    let (fstype, data) = (fstype.or_null(), data.or_null());
    call!(
        mount(source, target, fstype, flags, data),
        nix::mount::mount(source, target, fstype, flags, data)
    )
}

/// See umount2(2).
#[track_caller]
pub fn umount2(target: impl AsRef<Path>, flags: MntFlags) -> Result<()> {
    let target = target.as_ref();
    call!(umount2(target, flags), nix::mount::umount2(target, flags))
}

/// See pivot_root(2).
#[track_caller]
pub fn pivot_root(
    new_root: impl AsRef<Path>,
    put_old: impl AsRef<Path>,
) -> Result<()> {
    let (new_root, put_old) = (new_root.as_ref(), put_old.as_ref());
    call!(
        pivot_root(new_root, put_old),
        nix::unistd::pivot_root(new_root, put_old)
    )
}

/// See open_tree(2), since Linux 5.2. `flags` are `libc::OPEN_TREE_…` and
/// `libc::AT_…`; the descriptor is closed at exec.
#[track_caller]
pub fn open_tree(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    flags: u32,
) -> Result<OwnedFd> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let flags = flags | libc::OPEN_TREE_CLOEXEC;
    let opened = path.with_nix_path(|path| {
        // SAFETY: `path` is NUL-terminated and lives through the call, which
        // only reads it; the descriptor is borrowed, so open.
        unsafe {
            let dirfd = dirfd.as_raw_fd();
            libc::syscall(libc::SYS_open_tree, dirfd, path.as_ptr(), flags)
        }
    });
    let fd = call!(
        open_tree(dirfd, path, Bits(flags.into(), OPEN_TREE_FLAGS)),
        opened.and_then(Errno::result)
    )?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing
    // else in the program knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
}

const OPEN_TREE_FLAGS: Names = &[
    ("OPEN_TREE_CLONE", libc::OPEN_TREE_CLONE as u64),
    ("OPEN_TREE_CLOEXEC", libc::OPEN_TREE_CLOEXEC as u64),
    ("AT_SYMLINK_NOFOLLOW", libc::AT_SYMLINK_NOFOLLOW as u64),
    ("AT_EMPTY_PATH", libc::AT_EMPTY_PATH as u64),
    ("AT_RECURSIVE", libc::AT_RECURSIVE as u64),
];

/// See move_mount(2), since Linux 5.2. `flags` are `libc::MOVE_MOUNT_…`.
#[track_caller]
pub fn move_mount(
    from_dirfd: impl AsFd,
    from_path: impl AsRef<Path>,
    to_dirfd: impl AsFd,
    to_path: impl AsRef<Path>,
    flags: u32,
) -> Result<()> {
    let (from_dirfd, from_path) = (from_dirfd.as_fd(), from_path.as_ref());
    let (to_dirfd, to_path) = (to_dirfd.as_fd(), to_path.as_ref());
    let moved = from_path.with_nix_path(|from_path| {
        to_path.with_nix_path(|to_path| {
            // SAFETY: both paths are NUL-terminated and live through the call,
            // which only reads them; both descriptors are borrowed, so open.
            unsafe {
                libc::syscall(
                    libc::SYS_move_mount,
                    from_dirfd.as_raw_fd(),
                    from_path.as_ptr(),
                    to_dirfd.as_raw_fd(),
                    to_path.as_ptr(),
                    flags,
                )
            }
        })
    });
    let flags = Bits(flags.into(), MOVE_MOUNT_FLAGS);
    call!(
        move_mount(from_dirfd, from_path, to_dirfd, to_path, flags),
        moved.flatten().and_then(Errno::result).map(drop)
    )
}

const MOVE_MOUNT_FLAGS: Names = &[
    (
        "MOVE_MOUNT_F_EMPTY_PATH",
        libc::MOVE_MOUNT_F_EMPTY_PATH as u64,
    ),
    (
        "MOVE_MOUNT_T_EMPTY_PATH",
        libc::MOVE_MOUNT_T_EMPTY_PATH as u64,
    ),
];

/// See mount_setattr(2), since Linux 5.12. `flags` are `libc::AT_…`; `attr`
/// says which attributes are set and which are taken away.
#[track_caller]
pub fn mount_setattr(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    flags: c_int,
    attr: &mount_attr,
) -> Result<()> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let size = size_of::<mount_attr>();
    let set = path.with_nix_path(|path| {
        // SAFETY: `path` is NUL-terminated, and it and `attr` live through the
        // call, which only reads them: of `attr` as many bytes as the last
        // argument says. The descriptor is borrowed, so open.
        unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                dirfd.as_raw_fd(),
                path.as_ptr(),
                flags,
                ptr::from_ref(attr),
                size,
            )
        }
    });
    let flags = Bits::of(flags, OPEN_TREE_FLAGS);
    call!(
        mount_setattr(dirfd, path, flags, attr, size),
        set.and_then(Errno::result).map(drop)
    )
}

/// An argument of [`mount_setattr`] that changes nothing yet.
pub const NO_ATTR: mount_attr = mount_attr {
    attr_set: 0,
    attr_clr: 0,
    propagation: 0,
    userns_fd: 0,
};

impl Argument for mount_attr {
    fn text(&self) -> String {
        let set = Bits(self.attr_set, MOUNT_ATTRIBUTES).text();
        let clear = Bits(self.attr_clr, MOUNT_ATTRIBUTES).text();
        let propagation = MsFlags::from_bits_retain(self.propagation).text();
        let user_namespace = self.userns_fd;
        format!(
            "{{attr_set={set}, attr_clr={clear}, propagation={propagation}, \
             userns_fd={user_namespace}}}"
        )
    }
}

const MOUNT_ATTRIBUTES: Names = &[
    ("MOUNT_ATTR_RDONLY", libc::MOUNT_ATTR_RDONLY),
    ("MOUNT_ATTR_NOSUID", libc::MOUNT_ATTR_NOSUID),
    ("MOUNT_ATTR_NODEV", libc::MOUNT_ATTR_NODEV),
    ("MOUNT_ATTR_NOEXEC", libc::MOUNT_ATTR_NOEXEC),
    ("MOUNT_ATTR_IDMAP", libc::MOUNT_ATTR_IDMAP),
];
