//! What becomes of an image when another one takes its place.
//!
//! A container may run in it, and what steps 3 and 4 write is written for good:
//! then it stays, under another name.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};

use super::{remove_tree, rename};
use crate::report;

/// An image that has made place.
pub(super) struct Replaced {
    /// Where it is now.
    path: PathBuf,
    /// Why it must not be removed.
    reason: Option<&'static str>,
    /// Its list. While we have the lock, nobody begins to use it.
    _list: Option<File>,
}

impl Replaced {
    /// Gives the image `dir`, if there is one, another name. Who runs in it does
    /// not notice: a mount is of a directory, not of a name.
    ///
    /// `list` is that of its sources, and was written when it was complete.
    pub(super) fn set_aside(
        dir: &Path,
        list: &Path,
    ) -> anyhow::Result<Option<Replaced>> {
        if dir.symlink_metadata().is_err() {
            return Ok(None);
        }
        let list = File::options().read(true).write(true).open(list).ok();
        let reason = why_kept(dir, list.as_ref());

        let name =
            |number| dir.with_file_name(format!("rootfs.before-{number}"));
        let mut names = (1_u32..).map(name);
        let free = names.find(|name| name.symlink_metadata().is_err());
        let path = free.context("there are too many old images")?;
        rename(dir, &path)?;
        Ok(Some(Replaced {
            path,
            reason,
            _list: list,
        }))
    }

    /// Removes it, or says where it is and why.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Some(reason) = self.reason else {
            return remove_tree(&self.path);
        };
        report::warning(&anyhow!(
            "the tools of this machine have changed, so the image was made \
             anew; the old one {reason}, and is kept as {:?}",
            self.path
        ));
        Ok(())
    }
}

/// An image without a list is one of which nothing is known.
fn why_kept(image: &Path, list: Option<&File>) -> Option<&'static str> {
    // Whoever runs in the image has a lock on the list.
    if list.is_some_and(|list| list.try_lock().is_err()) {
        return Some("is in use");
    }
    let complete = list.and_then(|list| list.metadata().ok());
    let changed = complete.is_none_or(|list| {
        let time = (list.mtime(), list.mtime_nsec());
        // What can't be looked at was made by somebody else.
        changed_since(image, time).unwrap_or(true)
    });
    changed.then_some("was written to")
}

/// Whether anything in `dir` was made, removed or changed since `time`, in seconds
/// and nanoseconds.
fn changed_since(dir: &Path, time: (i64, i64)) -> io::Result<bool> {
    let status = dir.symlink_metadata()?;
    // Not its ctime, which is that of its last change of name.
    if (status.mtime(), status.mtime_nsec()) >= time {
        return Ok(true);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let status = entry.metadata()?;
        let changed = (status.ctime(), status.ctime_nsec()) >= time;
        if changed || status.is_dir() && changed_since(&entry.path(), time)? {
            return Ok(true);
        }
    }
    Ok(false)
}
