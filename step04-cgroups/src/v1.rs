//! Version 1: a tree for each controller, or for a few. The files of a cgroup.
//!
//! See the kernel's documentation, admin-guide/cgroup-v1.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use common::sys;
use nix::fcntl::OFlag;

use crate::directory::Directory;
use crate::limits::Limit;

/// Writes `limit` into the files of its controller.
pub(crate) fn set(cgroup: &Directory, limit: Limit) -> anyhow::Result<()> {
    match limit {
        Limit::Memory { bytes } => {
            cgroup.write("memory.limit_in_bytes", bytes)?;
            // The buffers of TCP, which are the kernel's memory and grow with
            // what is sent and not read, have a counter of their own.
            if cgroup.has("memory.kmem.tcp.limit_in_bytes") {
                cgroup.write("memory.kmem.tcp.limit_in_bytes", bytes)?;
            }
            // "memsw" is memory and swap together, and must not be less than
            // memory alone: that is why it comes second. Without this limit
            // a memory hog would not be killed but swapped.
            if cgroup.has("memory.memsw.limit_in_bytes") {
                cgroup.write("memory.memsw.limit_in_bytes", bytes)
            } else {
                // This kernel does not count swap, so nothing may go there.
                cgroup.write("memory.swappiness", 0)
            }
        }
        Limit::Cpu { quota } => {
            // Its fellow, cpu.cfs_period_us, is PERIOD in a new cgroup.
            cgroup.write("cpu.cfs_quota_us", quota).map_err(|error| {
                match quota_above(&cgroup.path) {
                    Some(less) => error.context(less),
                    None => error,
                }
            })
        }
        Limit::Pids { max } => cgroup.write("pids.max", max),
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
pub(crate) fn open_entrance(cgroup: &Directory) -> anyhow::Result<OwnedFd> {
    Ok(sys::open(cgroup.path.join("tasks"), OFlag::O_WRONLY, 0)?)
}

/// Moves the calling thread, "0", into the cgroup behind the `entrance`.
///
/// Not through `cgroup.procs`, and not by a number: any other than the writing
/// thread could end or get threads while it moves, so the kernel would lock all
/// forks out, and wait until every CPU has noticed (milliseconds; a grace period
/// of read-copy-update). See kernel/cgroup/cgroup.c, cgroup_procs_write_start.
pub(crate) fn join(entrance: &OwnedFd) -> sys::Result<()> {
    sys::write(entrance, "0")
}
