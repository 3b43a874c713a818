//! Marks: files of a layer that only say what it deletes of those below.
//!
//! See layer.md of the image specification, "Whiteouts".

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path};

use anyhow::ensure;

use super::{
    Layer,
    files::{is_directory, remove},
};

/// What begins the name of a file that only says which other one is deleted, and
/// the name of the one that says that all others are. They are those of AUFS, a
/// forerunner of overlay.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const FOR_AUFS: &[u8] = b".wh..wh.";

impl Layer {
    /// Does what a mark says; `false` if the file is none.
    pub(super) fn heeds_mark(&self, path: &Path) -> anyhow::Result<bool> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let parent = path.parent().unwrap_or(path);
        if name == OPAQUE {
            self.empty(parent)?;
        } else if name.starts_with(FOR_AUFS) {
            // For that file system alone.
        } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            self.hide(parent, OsStr::from_bytes(hidden))?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Deletes what the layers below have brought, and nothing of ours.
    fn hide(&self, parent: &Path, name: &OsStr) -> anyhow::Result<()> {
        let path = parent.join(name);
        // "", "." and "..": another file than the name says.
        ensure!(
            path.file_name() == Some(name),
            "there is no file {name:?} to be deleted"
        );
        match self.ours.contains(&path) {
            true => self.empty(&path),
            false => remove(&path),
        }
    }

    /// The same for all that is in a directory.
    fn empty(&self, directory: &Path) -> anyhow::Result<()> {
        if !is_directory(directory) {
            return Ok(());
        }
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match self.ours.contains(&path) {
                true => self.empty(&path)?,
                false => remove(&path)?,
            }
        }
        Ok(())
    }
}
