//! `tmpcopyup`: a tmpfs that begins with a copy of what it covers, as engines
//! make it for `/run` and `/tmp`.
//!
//! Everything is named by descriptors: the maker of the image has made each
//! link in it.

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use anyhow::Context;
use common::{
    host::files::{by_number, file_type},
    sys,
};
use nix::{
    fcntl::{AtFlags, OFlag},
    sys::stat::{FileStat, SFlag},
    unistd::{Gid, Uid},
};

use super::place::{open_mounted, reopen_directory};

/// How deep directories may lie in each other: each is open meanwhile.
const DEPTH: u32 = 64;

/// Opens what is at `destination` below `root` now.
pub(super) fn open(root: &Path, destination: &Path) -> anyhow::Result<OwnedFd> {
    Ok(reopen_directory(&open_mounted(root, destination)?)?)
}

/// Copies all that is in the directory `from` into `to`, with owners and modes.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> anyhow::Result<()> {
    let to = reopen_directory(to)?;
    copy_directory(from, &to, DEPTH).context("copying what it covers")
}

fn copy_directory(
    from: &OwnedFd,
    to: &OwnedFd,
    depth: u32,
) -> anyhow::Result<()> {
    anyhow::ensure!(depth > 0, "its directories are too deep");
    for name in sys::readdir(by_number(from))? {
        let status = sys::fstatat(from, &name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let name = Path::new(&name);
        match file_type(&status) {
            SFlag::S_IFDIR => {
                sys::mkdirat(to, name, 0o700)?;
                let flags =
                    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
                let inner = sys::openat(from, name, flags, 0)?;
                let copy = sys::openat(to, name, flags, 0)?;
                copy_directory(&inner, &copy, depth - 1)?;
                give(&copy, &status)?;
            }
            SFlag::S_IFREG => copy_file(from, to, name, &status)?,
            SFlag::S_IFLNK => {
                let target = sys::readlinkat(from, name)?;
                sys::symlinkat(target, to, name)?;
            }
            // Sockets, pipes and devices belong to who has made them.
            _ => {}
        }
    }
    // Last: a directory that we may not write to would be one now.
    give(to, &sys::fstat(from)?)
}

fn copy_file(
    from: &OwnedFd,
    to: &OwnedFd,
    name: &Path,
    status: &FileStat,
) -> anyhow::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut source = File::from(sys::openat(from, name, flags, 0)?);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let target = sys::openat(to, name, flags, 0o600)?;
    let mut target = File::from(target);
    std::io::copy(&mut source, &mut target).with_context(|| {
        let name = String::from_utf8_lossy(name.as_os_str().as_bytes());
        format!("copying {name:?}")
    })?;
    give(&target, status)
}

/// The owner first: a change of it clears the set-user-ID bit.
fn give(file: impl AsFd, status: &FileStat) -> anyhow::Result<()> {
    let (uid, gid) =
        (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    sys::fchown(file.as_fd(), Some(uid), Some(gid))?;
    Ok(sys::fchmod(file.as_fd(), status.st_mode & 0o7777)?)
}
