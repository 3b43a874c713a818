//! Version 1: a tree for each controller.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::directory::{Directory, write};
use crate::limits::Limit;

/// Writes `limit` into the files of the cgroup at `path`.
///
/// See the kernel's documentation, admin-guide/cgroup-v1.
pub(crate) fn set(path: &Path, limit: Limit) -> anyhow::Result<()> {
    match limit {
        Limit::Memory { bytes } => {
            write(&path.join("memory.limit_in_bytes"), &bytes.to_string())?;
            // "memsw" is memory and swap together, and must not be less than
            // memory alone: that is why it comes second. Without this limit
            // a memory hog would not be killed but swapped.
            let memsw = path.join("memory.memsw.limit_in_bytes");
            if memsw.exists() {
                write(&memsw, &bytes.to_string())
            } else {
                // This kernel does not count swap, so nothing may go there.
                write(&path.join("memory.swappiness"), "0")
            }
        }
        Limit::Cpu { quota } => {
            // Its fellow, cpu.cfs_period_us, is PERIOD in a new cgroup.
            write(&path.join("cpu.cfs_quota_us"), &quota.to_string())
        }
        Limit::Pids { max } => write(&path.join("pids.max"), &max.to_string()),
    }
}

/// Opens the file through which the child will join.
///
/// The parent does it, because the kernel checks permissions on opening: after
/// the child has changed its user, it would get `EACCES`.
pub(crate) fn open_entrance(path: &Path) -> anyhow::Result<File> {
    let tasks = path.join("tasks");
    OpenOptions::new()
        .write(true)
        .open(&tasks)
        .with_context(|| format!("open({tasks:?}, O_WRONLY)"))
}

/// Moves the calling thread, "0", into the cgroup.
///
/// Not `cgroup.procs`, which would move all threads: for that the kernel waits
/// until no thread of any process is being created (milliseconds on an idle
/// machine).
pub(crate) fn join(directory: &Directory) -> anyhow::Result<()> {
    (&directory.entrance).write_all(b"0").with_context(|| {
        format!(r#"write({:?}, "0")"#, directory.path.join("tasks"))
    })
}
