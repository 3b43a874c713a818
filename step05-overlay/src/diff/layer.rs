//! One layer, and the directory of it that is being looked at.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::fd::{AsFd, OwnedFd},
};

use anyhow::ensure;
use common::{
    host::files::{by_number, file_type},
    sys::{self, xattr},
};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag},
    libc::{dev_t, ino_t},
    sys::stat::{FileStat, SFlag},
};

/// A layer. It has one descriptor, however deep it goes: on the way down that
/// of the next directory takes its place, on the way up that of `..`.
pub(super) struct Layer {
    /// The directory that we are in.
    here: OwnedFd,
    /// Those above it, from the top: device and inode number.
    above: Vec<(dev_t, ino_t)>,
}

impl Layer {
    pub(super) fn new(top: OwnedFd) -> Layer {
        let above = Vec::new();
        Layer { here: top, above }
    }

    /// Goes into the directory `name`.
    pub(super) fn enter(&mut self, name: &OsStr) -> anyhow::Result<()> {
        let below = open_next(&self.here, name)?;
        self.above.push(identity(&self.here)?);
        self.here = below;
        Ok(())
    }

    /// Goes back to the directory above; at the top it stays.
    pub(super) fn leave(&mut self) -> anyhow::Result<()> {
        let Some(expected) = self.above.pop() else {
            return Ok(());
        };
        self.here = open_next(&self.here, "..".as_ref())?;
        // A running container may have moved it meanwhile.
        ensure!(
            identity(&self.here)? == expected,
            "a directory was moved while it was read"
        );
        Ok(())
    }

    pub(super) fn names(&self) -> anyhow::Result<BTreeSet<OsString>> {
        let names = sys::readdir(by_number(&self.here))?;
        Ok(names.into_iter().collect())
    }

    /// What `name` is here, if it is there.
    pub(super) fn look_at(
        &self,
        name: &OsStr,
    ) -> anyhow::Result<Option<Found>> {
        match sys::fstatat(&self.here, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(error) if error.errno == Errno::ENOENT => Ok(None),
            status => Ok(Some(Found(status?))),
        }
    }

    /// The mark of a directory that was deleted and made anew: an attribute.
    pub(super) fn is_opaque(&self) -> sys::Result<bool> {
        xattr::is(&self.here, c"user.overlay.opaque", b"y")
    }
}

/// What a layer has under one name.
pub(super) struct Found(FileStat);

impl Found {
    pub(super) fn is_directory(&self) -> bool {
        file_type(&self.0) == SFlag::S_IFDIR
    }

    /// The mark of a deleted file: a character device of which both numbers
    /// are 0.
    pub(super) fn is_whiteout(&self) -> bool {
        file_type(&self.0) == SFlag::S_IFCHR && self.0.st_rdev == 0
    }
}

fn open_next(here: impl AsFd, name: &OsStr) -> sys::Result<OwnedFd> {
    sys::openat(here, name, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, 0)
}

/// What a directory keeps when it is renamed.
fn identity(directory: impl AsFd) -> sys::Result<(dev_t, ino_t)> {
    let status = sys::fstat(directory)?;
    Ok((status.st_dev, status.st_ino))
}
