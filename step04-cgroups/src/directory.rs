//! A cgroup in one tree: its directory, from mkdir(2) to rmdir(2).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use common::errors;
use common::host::cgroups::{Hierarchy, Version};
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};

use crate::leftovers::Name;
use crate::limits::Limit;
use crate::v2::Leaf;
use crate::{v1, v2};

/// A directory that we made in a tree of cgroups. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) path: PathBuf,
    /// What a process needs to get in, opened by the parent: the `tasks` file
    /// on version 1, the directory itself on version 2.
    pub(crate) entrance: File,
    /// Only the process that made the directory may remove it: its children
    /// have a copy of this value.
    creator: u32,
    /// Where we went ourselves, if we were in the way. Fields are dropped in
    /// this order after the directory is removed.
    _leaf: Option<Leaf>,
}

impl Directory {
    /// Makes the directory, where `hierarchy` wants it, and sweeps dead ones
    /// beside it.
    pub(crate) fn create(
        hierarchy: Hierarchy,
        name: &Name,
    ) -> anyhow::Result<Directory> {
        let (parent, leaf) = match hierarchy.version {
            Version::V1 => (hierarchy.own.clone(), None),
            Version::V2 => v2::place(&hierarchy, name)?,
        };
        let path = parent.join(&name.full);
        make(&path).map_err(|error| match errors::errno(&error) {
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                error.context("no delegated cgroup")
            }
            _ => error,
        })?;
        name.sweep(&parent);
        let entrance = match hierarchy.version {
            Version::V1 => v1::open_entrance(&path),
            Version::V2 => v2::open_entrance(&path),
        };
        let entrance = entrance.inspect_err(|_| {
            remove(&path);
        })?;
        let creator = process::id();
        Ok(Directory {
            hierarchy,
            path,
            entrance,
            creator,
            _leaf: leaf,
        })
    }

    /// Writes `limit` into the kernel's files for it.
    pub(crate) fn set(&self, limit: Limit) -> anyhow::Result<()> {
        match self.hierarchy.version {
            Version::V1 => v1::set(&self.path, limit),
            Version::V2 => v2::set(&self.hierarchy, &self.path, limit),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if process::id() == self.creator {
            remove(&self.path);
        }
    }
}

/// Makes the directory with the umask 022, whatever the caller's is: the
/// container may look at its own cgroup, and its root is somebody else outside.
fn make(path: &Path) -> anyhow::Result<()> {
    let callers = umask(Mode::from_bits_truncate(0o022));
    let made = fs::create_dir(path);
    umask(callers);
    made.with_context(|| format!("mkdir({path:?})"))
}

/// Removes a cgroup whose processes have ended; `EBUSY` means that the kernel
/// is not done yet with one of them.
pub(crate) fn remove(path: &Path) {
    for _ in 0..100 {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                sleep(Duration::from_millis(1));
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                errors::warning(&error.context(format!("rmdir({path:?})")));
                return;
            }
            Ok(()) => return,
        }
    }
    let busy = anyhow::Error::from(Errno::EBUSY);
    let busy = busy.context(format!("rmdir({path:?})"));
    errors::warning(&busy.context("processes are left in the cgroup"));
}

/// Writes `value` to an existing file of the kernel, in one write(2).
pub(crate) fn write(path: &Path, value: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .open(path)
        .with_context(|| format!("open({path:?}, O_WRONLY)"))?;
    file.write_all(value.as_bytes())
        .with_context(|| format!("write({path:?}, {value:?})"))
}
