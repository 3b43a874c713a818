//! How large directories are of which a container or an image is made.
//!
//! As with [`pack`](crate::pack), the container may run meanwhile: nothing is
//! opened by its path, no link is followed, and what is gone is left out.

use std::{collections::HashSet, ffi::OsStr, os::fd::OwnedFd, path::PathBuf};

use anyhow::Context;
use common::{host::files::file_type, sys};
use nix::{
    fcntl::{AtFlags, OFlag},
    sys::stat::SFlag,
};

use crate::{
    in_container,
    pack::{Directory, is_another_by_now},
};

/// The bytes that the files in each of `directories` have, holes included. A file
/// with several names counts once; `None` for what can't be read.
///
/// The caller must have one thread.
///
/// # Errors
/// It can't be looked at by whoever the files belong to.
pub fn sizes(directories: &[PathBuf]) -> anyhow::Result<Vec<Option<u64>>> {
    let mut sizes = Vec::new();
    let mut hear = |line: &str| sizes.push(line.parse().ok());
    in_container::as_owner(&mut hear, |speaker, _| {
        for directory in directories {
            let size = size(directory);
            speaker.note(&size.map_or("-".into(), |it| it.to_string()));
        }
        Ok(())
    })?;
    Ok(sizes)
}

fn size(directory: &PathBuf) -> anyhow::Result<u64> {
    let top = sys::open(directory, OFlag::O_DIRECTORY, 0)?;
    let mut levels = vec![Directory::open(top, PathBuf::new())?];
    let mut seen = HashSet::new();
    let mut bytes: u64 = 0;
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        match look(&level.file, &name) {
            Err(error) if is_another_by_now(&error) => {}
            found => match found? {
                Found::Directory(below) => levels.push(below),
                Found::File(identity, size) if seen.insert(identity) => {
                    bytes = bytes.checked_add(size).context("too many")?;
                }
                _ => {}
            },
        }
    }
    Ok(bytes)
}

enum Found {
    Directory(Directory),
    /// Its identity, and its size in bytes.
    File((u64, u64), u64),
    Other,
}

fn look(parent: &OwnedFd, name: &OsStr) -> anyhow::Result<Found> {
    let status = sys::fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(match file_type(&status) {
        SFlag::S_IFDIR => {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let opened = sys::openat(parent, name, flags, 0)?;
            Found::Directory(Directory::open(opened, PathBuf::new())?)
        }
        SFlag::S_IFREG => {
            let size = u64::try_from(status.st_size)?;
            Found::File((status.st_dev, status.st_ino), size)
        }
        _ => Found::Other,
    })
}
