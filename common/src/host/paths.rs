//! The way to a file: who else could have put something there?

use std::{
    collections::VecDeque,
    ffi::OsString,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{bail, ensure};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, ResolveFlag},
    sys::stat::{FileStat, SFlag},
    unistd::geteuid,
};

use super::files::file_type;
use crate::sys;

/// As many symbolic links as the kernel follows: MAXSYMLINKS in its sources.
const LINKS_MAX: u32 = 40;

/// Finds the way to the directory `path`, which is absolute, and returns it
/// without symbolic links. Each directory on the way, and each link, is looked
/// at: when all are in order, nobody can exchange a part of it later.
///
/// They must belong to us, to root, or to whoever has `/` (in a user namespace
/// without root, that is how root looks). Others may not write to them; they may
/// where the sticky bit is set, as in `/tmp`, since there they can neither rename
/// nor remove what is not theirs. See inode(7).
///
/// # Errors
/// Somebody else could exchange a part of the path.
pub fn way_to(path: &Path) -> anyhow::Result<PathBuf> {
    let mut owners = vec![0, geteuid().as_raw()];
    let (_, way) = walk(path, |status, place| {
        if place == Path::new("/") {
            owners.push(status.st_uid);
        }
        if file_type(status) != SFlag::S_IFLNK {
            return check(status, &owners, place);
        }
        ensure!(
            owners.contains(&status.st_uid),
            "{place:?} on the way is a symbolic link of user {}",
            status.st_uid
        );
        Ok(())
    })?;
    Ok(way)
}

/// Opens the directory `dir`, only to name it by the descriptor: O_PATH needs
/// no permission on the directory itself. See open(2).
#[track_caller]
pub fn open_directory(dir: &Path) -> anyhow::Result<OwnedFd> {
    Ok(sys::open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?)
}

/// Opens the directory `path`, and follows no other links to it than root's and
/// our own: those of somebody else could lead anywhere, and be exchanged at any
/// time. A relative path begins where we are.
///
/// # Errors
/// A part of the path is the link of another user.
pub fn open_past_links(path: &Path) -> anyhow::Result<OwnedFd> {
    // Where there is no link, it is one call.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let no_links = ResolveFlag::RESOLVE_NO_SYMLINKS;
    if let Ok(opened) = sys::openat2(AT_FDCWD, path, flags, no_links) {
        return Ok(opened);
    }
    let (opened, _) = walk(path, |status, place| {
        let name = place.file_name().unwrap_or_default();
        ensure!(
            file_type(status) != SFlag::S_IFLNK
                || [0, geteuid().as_raw()].contains(&status.st_uid),
            "{name:?} in it is a symbolic link of user {}, not of {}",
            status.st_uid,
            geteuid()
        );
        Ok(())
    })?;
    Ok(opened)
}

/// Goes to the directory `path` step by step, and returns it, open, and its path
/// without symbolic links. Each directory on the way, and each link, is opened
/// and shown to `look`, with its path, so that nobody can exchange it in between.
/// See path_resolution(7).
fn walk(
    path: &Path,
    mut look: impl FnMut(&FileStat, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<(OwnedFd, PathBuf)> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let start = if path.is_absolute() { "/" } else { "." };
    // The first name of an absolute path is "/".
    let names = path.iter().skip(usize::from(path.is_absolute()));
    let mut here = sys::open(start, flags, 0)?;
    let mut so_far = PathBuf::from(start);
    look(&sys::fstat(&here)?, &so_far)?;

    let mut links = 0;
    let mut names: VecDeque<OsString> = names.map(Into::into).collect();
    while let Some(name) = names.pop_front() {
        // A link may begin with "/": back to the top.
        let next = sys::openat(&here, &name, flags, 0)?;
        let place = match name.as_encoded_bytes() {
            b".." => so_far.parent().unwrap_or(&so_far).to_owned(),
            _ => so_far.join(&name),
        };
        let status = sys::fstat(&next)?;
        match file_type(&status) {
            SFlag::S_IFDIR => {
                look(&status, &place)?;
                (here, so_far) = (next, place);
            }
            SFlag::S_IFLNK => {
                look(&status, &place)?;
                links += 1;
                if links > LINKS_MAX {
                    let errno = Errno::ELOOP;
                    return Err(sys::open_error(path, directory, errno).into());
                }
                let target = sys::readlinkat(&next, "")?;
                for name in Path::new(&target).iter().rev() {
                    names.push_front(name.to_owned());
                }
            }
            _ => {
                let errno = Errno::ENOTDIR;
                return Err(sys::open_error(place, directory, errno).into());
            }
        }
    }
    Ok((here, so_far))
}

/// Checks that nobody but the `owners` can exchange what is in the directory
/// `path`.
fn check(status: &FileStat, owners: &[u32], path: &Path) -> anyhow::Result<()> {
    let (uid, mode) = (status.st_uid, status.st_mode & 0o7777);
    if !owners.contains(&uid) {
        bail!(
            "{path:?} on the way belongs to user {uid}, not to {}",
            geteuid()
        );
    }
    let sticky = mode & 0o1000 != 0;
    if mode & 0o022 != 0 && !sticky {
        bail!("{path:?} on the way is writable by others (mode {mode:04o})");
    }
    Ok(())
}
