//! The way to a directory whose programs will run with our privileges: who else
//! could have put something there?

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fmt::Debug,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use nix::{
    errno::Errno,
    fcntl::{
        AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2,
        readlinkat,
    },
    sys::stat::{FileStat, Mode, SFlag, fstat},
    unistd::geteuid,
};

/// As many symbolic links as the kernel follows: MAXSYMLINKS in its sources.
const LINKS_MAX: u32 = 40;

/// Goes to the directory `path`, which is absolute, step by step, and returns it
/// without symbolic links. Each directory on the way, and each link, is opened
/// and looked at, so that nobody can exchange it in between; and when all are in
/// order, nobody can later.
///
/// They must belong to us, to root, or to whoever has `/` (in a user namespace
/// without root, that is how root looks). Others may not write to them; they may
/// where the sticky bit is set, as in `/tmp`, since there they can neither rename
/// nor remove what is not theirs. See path_resolution(7) and inode(7).
///
/// # Errors
/// Somebody else could exchange a part of the path; or that of the call that
/// failed.
pub(super) fn way_to(path: &Path) -> anyhow::Result<PathBuf> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = open("/", flags, Mode::empty())
        .context(r#"open("/", O_PATH|O_NOFOLLOW)"#)?;
    let top = status(&root, "/")?;
    let owners = [top.st_uid, 0, geteuid().as_raw()];
    check(&top, &owners, Path::new("/"))?;

    let (mut here, mut so_far) = (root, PathBuf::from("/"));
    let mut links = 0;
    // The first one is "/".
    let names = path.iter().skip(1);
    let mut names: VecDeque<OsString> = names.map(Into::into).collect();
    while let Some(name) = names.pop_front() {
        // A link may begin with "/": back to the top.
        let next = openat(&here, name.as_os_str(), flags, Mode::empty())
            .with_context(|| {
                format!("openat({:?}, O_PATH|O_NOFOLLOW)", so_far.join(&name))
            })?;
        let place = match name.as_encoded_bytes() {
            b".." => so_far.parent().unwrap_or(&so_far).to_owned(),
            _ => so_far.join(&name),
        };
        let status = status(&next, &place)?;
        if kind(&status) != SFlag::S_IFLNK {
            check(&status, &owners, &place)?;
            (here, so_far) = (next, place);
            continue;
        }
        ensure!(
            owners.contains(&status.st_uid),
            "{place:?} on the way is a symbolic link of user {}",
            status.st_uid
        );
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::ELOOP).context(format!("open({path:?})"));
        }
        let target = readlinkat(&next, "")
            .with_context(|| format!("readlink({place:?})"))?;
        for name in Path::new(&target).iter().rev() {
            names.push_front(name.to_owned());
        }
    }
    Ok(so_far)
}

/// Checks that nobody but the `owners` can exchange what is in the directory
/// `path`.
fn check(status: &FileStat, owners: &[u32], path: &Path) -> anyhow::Result<()> {
    if kind(status) != SFlag::S_IFDIR {
        return Err(Errno::ENOTDIR)
            .context(format!("open({path:?}, O_DIRECTORY)"));
    }
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

/// Opens the directory `path` step by step, to follow no other links than
/// root's and our own: those of somebody else could lead anywhere, and be
/// exchanged at any time. A relative path begins where we are.
///
/// # Errors
/// A part of the path is the link of another user; or that of the call that
/// failed.
pub fn open_past_links(path: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = flags | OFlag::O_DIRECTORY;
    // Where there is no link, it is one call.
    let how = OpenHow::new()
        .flags(directory)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    if let Ok(opened) = openat2(AT_FDCWD, path, how) {
        return Ok(opened);
    }
    let start = if path.is_absolute() { "/" } else { "." };
    let mut here = open(start, directory, Mode::empty())
        .with_context(|| format!("open({start:?}, O_PATH|O_DIRECTORY)"))?;

    let mut links = 0;
    let mut names: Vec<OsString> = reversed(path);
    while let Some(name) = names.pop() {
        let next = openat(&here, name.as_os_str(), directory, Mode::empty());
        match next {
            Ok(next) => {
                here = next;
                continue;
            }
            // What is no directory may be a link to one.
            Err(Errno::ENOTDIR) => {}
            Err(errno) => {
                return Err(errno).with_context(|| {
                    format!("openat({name:?}, O_PATH|O_DIRECTORY|O_NOFOLLOW)")
                });
            }
        }
        let link = openat(&here, name.as_os_str(), flags, Mode::empty())
            .with_context(|| format!("openat({name:?}, O_PATH|O_NOFOLLOW)"))?;
        let status = fstat(&link).context("fstat(link)")?;
        if kind(&status) != SFlag::S_IFLNK {
            return Err(Errno::ENOTDIR)
                .with_context(|| format!("openat({name:?}, O_DIRECTORY)"));
        }
        ensure!(
            [0, geteuid().as_raw()].contains(&status.st_uid),
            "{name:?} in it is a symbolic link of user {}, not of {}",
            status.st_uid,
            geteuid()
        );
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::ELOOP).context(format!("open({path:?})"));
        }
        let target = readlinkat(&link, "").context("readlinkat(link)")?;
        // An absolute one begins with the name "/", and so at the root.
        names.extend(reversed(Path::new(&target)));
    }
    Ok(here)
}

/// The names that `path` is made of, the first one last.
fn reversed(path: &Path) -> Vec<OsString> {
    path.iter().rev().map(OsStr::to_owned).collect()
}

fn status(file: &OwnedFd, name: impl Debug) -> anyhow::Result<FileStat> {
    fstat(file).with_context(|| format!("fstat({name:?})"))
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}
