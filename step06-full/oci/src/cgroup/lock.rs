//! Who makes a container in a cgroup, or removes the cgroup, is alone there.
//!
//! Of two containers that are made at once at the same path, both would find the
//! cgroup empty. So the directories are locked until there is a process in them,
//! and are looked at once more under the lock. It is the kernel's lock on the
//! directory itself: those of another `--root` meet it, too, and it ends with
//! its holder. See flock(2).

use std::{
    os::fd::OwnedFd,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use common::sys;
use nix::{errno::Errno, fcntl::OFlag};

use super::place::Place;

/// How long somebody else may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Held as long as this is open. The container's process has copies, until it
/// closes what it was born with.
pub(super) struct Lock {
    _directories: Vec<OwnedFd>,
}

impl Lock {
    /// Waits for those of all directories of `place`, in the same order as
    /// everybody does.
    ///
    /// # Errors
    /// Somebody keeps one for too long, or has removed a directory meanwhile.
    pub(super) fn take(place: &Place) -> anyhow::Result<Lock> {
        let parts = place.parts.iter();
        let directories = parts.map(|part| take_one(&part.directory));
        Ok(Lock {
            _directories: directories.collect::<anyhow::Result<_>>()?,
        })
    }

    /// The same for what is to be removed: what is gone needs none.
    pub(super) fn of_those_there(place: &Place) -> anyhow::Result<Lock> {
        let mut rest = place.clone();
        rest.parts.retain(|part| part.directory.exists());
        Lock::take(&rest)
    }
}

fn take_one(path: &Path) -> anyhow::Result<OwnedFd> {
    let directory = sys::open(path, OFlag::O_DIRECTORY, 0)?;
    let start = Instant::now();
    loop {
        match sys::flock(&directory, libc::LOCK_EX | libc::LOCK_NB) {
            Err(error)
                if error.errno == Errno::EWOULDBLOCK
                    && start.elapsed() < PATIENCE => {}
            locked => break locked.context("somebody else is at work on it"),
        }
        sleep(Duration::from_millis(1));
    }
    .with_context(|| format!("locking the cgroup {path:?}"))?;
    let (ours, there) = (sys::fstat(&directory)?, sys::stat(path)?);
    ensure!(
        (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino),
        "somebody else has removed the cgroup {path:?}"
    );
    Ok(directory)
}
