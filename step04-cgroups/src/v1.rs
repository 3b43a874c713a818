//! Version 1: a tree for each controller.

use std::fs::{self, File, OpenOptions};
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
            // The buffers of TCP, which are the kernel's memory and grow with
            // what is sent and not read, have a counter of their own.
            let tcp = path.join("memory.kmem.tcp.limit_in_bytes");
            if tcp.exists() {
                write(&tcp, &bytes.to_string())?;
            }
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
            let quota_file = path.join("cpu.cfs_quota_us");
            write(&quota_file, &quota.to_string()).map_err(|error| {
                match quota_above(path) {
                    Some(less) => error.context(less),
                    None => error,
                }
            })
        }
        Limit::Pids { max } => write(&path.join("pids.max"), &max.to_string()),
    }
}

/// The quota of the nearest cgroup above that has one. Here a cgroup can't be
/// given more than those above it have (`EINVAL`); version 2 takes any number,
/// and the smallest holds.
fn quota_above(path: &Path) -> Option<String> {
    let quota_of = |cgroup: &Path| {
        let read = |file| {
            let text = fs::read_to_string(cgroup.join(file)).ok()?;
            text.trim().parse::<f64>().ok()
        };
        // -1 is none.
        let quota = read("cpu.cfs_quota_us").filter(|quota| *quota > 0.0)?;
        Some(quota / read("cpu.cfs_period_us")?)
    };
    path.ancestors().skip(1).find_map(|cgroup| {
        let cpus = quota_of(cgroup)?;
        Some(format!("the cgroup above, {cgroup:?}, has {cpus} CPUs"))
    })
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
/// Not `cgroup.procs`, which moves all threads of a process: for that the kernel
/// keeps others from being created, and first waits until every CPU has noticed
/// (milliseconds; an RCU grace period).
pub(crate) fn join(directory: &Directory) -> anyhow::Result<()> {
    (&directory.entrance).write_all(b"0").with_context(|| {
        format!(r#"write({:?}, "0")"#, directory.path.join("tasks"))
    })
}
