//! Who has a container: its monitor, who looks at it, or who removes it.

use std::{
    fs::File,
    io::ErrorKind,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use common::sys;
use nix::{
    errno::Errno,
    libc::{LOCK_EX, LOCK_NB, LOCK_SH},
};

use crate::record;

pub(crate) const LOCK: &str = "lock";

/// How long others may look at a lock.
const A_MOMENT: Duration = Duration::from_millis(500);

/// What somebody sees who looks at a lock.
pub(crate) enum Look {
    /// Nobody has it; and nobody gets it until this file is closed.
    Free(#[allow(dead_code, reason = "it is kept open")] File),
    /// A monitor has it.
    Taken,
    /// There is none.
    Gone,
}

/// Looks at the lock in `dir`. Those who only look don't see each other.
pub(crate) fn look(dir: &Path) -> anyhow::Result<Look> {
    let lock = match File::open(dir.join(LOCK)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Look::Gone);
        }
        opened => opened.context("opening the lock of the monitor")?,
    };
    match sys::flock(&lock, LOCK_SH | LOCK_NB) {
        Err(error) if error.errno == Errno::EWOULDBLOCK => Ok(Look::Taken),
        locked => Ok(locked.map(|()| Look::Free(lock))?),
    }
}

/// Makes `dir` ours, until this file is closed; `None` if it is another's.
pub(crate) fn lock(dir: &Path) -> anyhow::Result<Option<File>> {
    let path = dir.join(LOCK);
    let file = match record::create(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("the container in {dir:?} is gone");
        }
        opened => opened.with_context(|| format!("open({path:?})"))?,
    };
    // Those who look have it for a moment.
    let start = Instant::now();
    loop {
        match sys::flock(&file, LOCK_EX | LOCK_NB) {
            Err(error) if error.errno == Errno::EWOULDBLOCK => {
                if start.elapsed() > A_MOMENT {
                    return Ok(None);
                }
                sleep(Duration::from_millis(2));
            }
            locked => {
                locked?;
                // Whoever had it may have removed it.
                ensure!(path.exists(), "the container in {dir:?} is gone");
                return Ok(Some(file));
            }
        }
    }
}
