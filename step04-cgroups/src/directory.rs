//! A cgroup is a directory: made by mkdir(2), set by writing to the files that
//! the kernel puts into it, removed by rmdir(2).

use std::mem::{self, ManuallyDrop};
use std::path::{Path, PathBuf};
use std::process;
use std::thread::sleep;
use std::time::Duration;

use common::host::files::write_kernel_file;
use common::{errors, sys};
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};

/// A cgroup that we have made. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// Our process number. The container's process gets a copy of this value,
    /// drops it as well, and must not remove anything.
    creator: u32,
}

impl Directory {
    /// Makes the cgroup.
    pub(crate) fn create(path: PathBuf) -> anyhow::Result<Directory> {
        make(&path)?;
        let creator = process::id();
        Ok(Directory { path, creator })
    }

    /// Whether the kernel has put a file of this name into it.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.path.join(file).exists()
    }

    /// Writes `value` to the file of this name.
    pub(crate) fn write(
        &self,
        file: &str,
        value: impl ToString,
    ) -> anyhow::Result<()> {
        Ok(write_kernel_file(self.path.join(file), &value.to_string())?)
    }

    /// Leaves its removal to whoever gets the path.
    pub(crate) fn hand_over(self) -> PathBuf {
        mem::take(&mut ManuallyDrop::new(self).path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if process::id() == self.creator {
            remove(&self.path);
        }
    }
}

/// Makes a cgroup.
///
/// # Errors
/// `EEXIST` if it is there already.
pub fn make(path: &Path) -> sys::Result<()> {
    // Whatever the caller's umask is: the container may look at its own cgroup,
    // and its root is somebody else outside.
    let callers = umask(Mode::from_bits_truncate(0o022));
    let made = sys::mkdir(path, 0o777);
    umask(callers);
    made
}

/// Removes a cgroup whose processes have ended. One that can't be removed is
/// left, with a warning.
pub fn remove(path: &Path) {
    if let Err(error) = try_remove(path) {
        errors::warning(&error);
    }
}

/// Removes a cgroup whose processes have ended; `EBUSY` means that the kernel
/// is not done yet with one of them.
pub fn try_remove(path: &Path) -> anyhow::Result<()> {
    let mut removed = sys::rmdir(path);
    for _ in 0..100 {
        match &removed {
            Err(error) if error.errno == Errno::EBUSY => {
                sleep(Duration::from_millis(1));
                removed = sys::rmdir(path);
            }
            _ => break,
        }
    }
    removed.map_err(|error| {
        let busy = error.errno == Errno::EBUSY;
        let error = anyhow::Error::from(error);
        match busy {
            true => error.context("processes are left in the cgroup"),
            false => error,
        }
    })
}
