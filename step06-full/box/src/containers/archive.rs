//! The archive that `cp` sends through its pipe.
//!
//! The container may run, and change a file while it is read. What it says in
//! there is read on the host: so a file has exactly the size that its header
//! says, and who unpacks takes nothing but what was asked for. Otherwise a file
//! that grows at the right moment could bring others along.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{fd::BorrowedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use common::errors;
use nix::libc;
use tar::{Archive, Builder, EntryType, Header};

/// Writes what is at `source` to the archive, under this name; with an empty one,
/// what is in that directory.
pub(super) fn pack(
    source: &Path,
    name: &Path,
    to: BorrowedFd,
) -> anyhow::Result<()> {
    let mut archive = Builder::new(File::from(to.try_clone_to_owned()?));
    let mut rest = vec![(source.to_owned(), name.to_owned())];
    while let Some((path, name)) = rest.pop() {
        let added = add(&mut archive, &path, &name);
        let below = added.with_context(|| format!("reading {path:?}"))?;
        rest.extend(below);
    }
    archive.finish().context("writing an archive")
}

/// Adds what is at `path`; of a directory it returns what is in it.
fn add(
    archive: &mut Builder<File>,
    path: &Path,
    name: &Path,
) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let status = path.symlink_metadata()?;
    let mut header = Header::new_gnu();
    header.set_metadata(&status);
    header.set_size(0);
    if status.is_dir() {
        if !name.as_os_str().is_empty() {
            archive.append_data(&mut header, name, io::empty())?;
        }
        let entries = path.read_dir()?.collect::<io::Result<Vec<_>>>()?;
        let names = entries.iter().map(|it| name.join(it.file_name()));
        let paths = entries.iter().map(std::fs::DirEntry::path);
        return Ok(paths.zip(names).collect());
    }
    if status.is_symlink() {
        archive.append_link(&mut header, name, path.read_link()?)?;
    } else if status.is_file() {
        add_file(archive, path, name)?;
    } else {
        let error = anyhow!("{path:?} is a socket, a pipe or a device");
        errors::warning(&error.context("left out"));
    }
    Ok(Vec::new())
}

fn add_file(
    archive: &mut Builder<File>,
    path: &Path,
    name: &Path,
) -> anyhow::Result<()> {
    // It may be a link by now, or a pipe that nobody writes to.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags).open(path)?;
    let status = file.metadata()?;
    ensure!(status.is_file(), "it was a file, and is none any more");
    let mut header = Header::new_gnu();
    header.set_metadata(&status);
    // Neither more, if it grows, nor less, if it shrinks.
    let size = status.len();
    let text = file.take(size).chain(io::repeat(0)).take(size);
    Ok(archive.append_data(&mut header, name, text)?)
}

/// Makes what the archive has under this name in `dir`, and nothing else:
/// whatever links it has, none is followed out of there.
pub(super) fn unpack(
    from: BorrowedFd,
    dir: &Path,
    name: &Path,
    with_owners: bool,
) -> anyhow::Result<()> {
    let unpack = || {
        // Or it would be made.
        dir.read_dir()?;
        let mut from = File::from(from.try_clone_to_owned()?);
        let mut archive = Archive::new(&mut from);
        archive.set_preserve_ownerships(with_owners);
        unpack_all(&mut archive, dir, name)?;
        // Who writes has more: what fills an archive up.
        io::copy(&mut from, &mut io::sink())?;
        anyhow::Ok(())
    };
    unpack().with_context(|| format!("writing in {dir:?}"))
}

fn unpack_all(
    archive: &mut Archive<impl Read>,
    dir: &Path,
    name: &Path,
) -> anyhow::Result<()> {
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        ensure!(path.starts_with(name), "nobody has asked for {path:?}");
        match entry.header().entry_type() {
            EntryType::Directory => directories.push((path, entry)),
            _ => ensure!(entry.unpack_in(dir)?, "{path:?} leads elsewhere"),
        }
    }
    // Last, and those above others behind them: one may be closed even to us.
    directories.sort_by(|(one, _), (other, _)| other.cmp(one));
    for (path, mut entry) in directories {
        ensure!(entry.unpack_in(dir)?, "{path:?} leads elsewhere");
    }
    Ok(())
}
