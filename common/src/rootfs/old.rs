//! What becomes of an image when another one takes its place.
//!
//! What steps 3 and 4 write is written for good: an image that was written to
//! stays, as `rootfs.before-1`. Any other is removed, but not while a container
//! runs in it: until then it lies in a directory `old/<number>`, with its list
//! of sources. Who runs in it does not notice: a mount is of a directory, not of
//! a name.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use nix::{
    errno::Errno,
    sys::stat::{FileStat, SFlag},
};

use super::{image::make_dir, remove_tree, rename};
use crate::{errors, host::files::file_type, sys};

/// Whether there are some in `home`. This is asked at each start.
pub(super) fn exist(home: &Path) -> bool {
    home.join("old").symlink_metadata().is_ok()
}

/// What is there.
pub(super) fn list(home: &Path) -> sys::Result<Vec<OsString>> {
    sys::readdir(home.join("old"))
}

/// Moves the image `dir` and its list of sources there. The lock is ours.
pub(super) fn set_aside(dir: &Path, list: &Path) -> anyhow::Result<()> {
    let old = dir.with_file_name("old");
    if old.symlink_metadata().is_err() {
        make_dir(&old, 0o700)?;
    }
    let place = free(|number| old.join(number.to_string()));
    make_dir(&place, 0o700)?;
    // The list goes first: an image without one counts as written into.
    if list.symlink_metadata().is_ok() {
        rename(list, &place.join("sources"))?;
    }
    rename(dir, &place.join("rootfs"))
}

/// Removes those in `home` that no container runs in. Those with changes are
/// kept beside the new one, and a line says where.
pub(super) fn clear_away(home: &Path, _lock: &File) -> anyhow::Result<()> {
    let old = home.join("old");
    let names = match list(home) {
        Err(error) if error.errno == Errno::ENOENT => return Ok(()),
        names => names?,
    };
    for name in names {
        let place = old.join(name);
        let image = place.join("rootfs");
        let list = place.join("sources");
        // Whoever runs in the image shares a lock on its list.
        let held = File::options().read(true).write(true).open(&list);
        let unused = held.as_ref().is_ok_and(|it| it.try_lock().is_ok());
        // What can't be read was changed: we have built it otherwise.
        if was_changed(&image, &list).unwrap_or(true) {
            keep(&image, home)?;
        } else if !unused {
            continue;
        }
        remove_tree(&place)?;
    }
    // It fails if some are still in use, and then they are for a later run.
    let _ = fs::remove_dir(&old);
    Ok(())
}

fn keep(image: &Path, home: &Path) -> anyhow::Result<()> {
    // A builder died between making the place and moving the image there.
    if image.symlink_metadata().is_err() {
        return Ok(());
    }
    let place = free(|number| home.join(format!("rootfs.before-{number}")));
    rename(image, &place)?;
    errors::warning(&anyhow!(
        "the tools of this machine have changed, so the image was made anew; \
         the old one was written to, and is kept as {place:?}"
    ));
    Ok(())
}

/// The first path of those that does not exist.
fn free(path: impl Fn(u32) -> PathBuf) -> PathBuf {
    let mut paths = (1..).map(path);
    let free = paths.find(|path| path.symlink_metadata().is_err());
    free.expect("a directory has less than 2^32 entries")
}

/// Whether anything in `image` is not older than its list of sources, which was
/// written last: then it is the work of a reader. What we look at is the time
/// that nobody can set, st_ctime. See inode(7).
fn was_changed(image: &Path, list: &Path) -> anyhow::Result<bool> {
    let list = sys::lstat(list)?;
    let built = (list.st_mtime, list.st_mtime_nsec);
    let is_younger =
        |status: &FileStat| (status.st_ctime, status.st_ctime_nsec) >= built;
    // We have moved the top, which counts as a change of it on some file
    // systems; names that come and go in it change st_mtime.
    let top = sys::lstat(image)?;
    if (top.st_mtime, top.st_mtime_nsec) >= built {
        return Ok(true);
    }
    let mut directories = vec![image.to_owned()];
    while let Some(directory) = directories.pop() {
        for name in sys::readdir(&directory)? {
            let path = directory.join(name);
            let status = sys::lstat(&path)?;
            if is_younger(&status) {
                return Ok(true);
            }
            if file_type(&status) == SFlag::S_IFDIR {
                directories.push(path);
            }
        }
    }
    Ok(false)
}
