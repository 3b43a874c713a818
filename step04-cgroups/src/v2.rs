//! Version 2: one tree for all controllers. The files of a cgroup.
//!
//! See the kernel's documentation, admin-guide/cgroup-v2.

use std::fs;
use std::os::fd::OwnedFd;

use anyhow::ensure;
use common::host::paths::open_directory;

use crate::directory::Directory;
use crate::limits::{Limit, PERIOD};

/// Writes `limit` into the file of its controller, which must be enabled for
/// this cgroup.
pub(crate) fn set(cgroup: &Directory, limit: Limit) -> anyhow::Result<()> {
    match limit {
        Limit::Memory { bytes } => {
            cgroup.write("memory.max", bytes)?;
            forbid_swap(cgroup)
        }
        Limit::Cpu { quota } => {
            cgroup.write("cpu.max", format!("{quota} {PERIOD}"))
        }
        Limit::Pids { max } => cgroup.write("pids.max", max),
    }
}

/// Keeps the container's memory out of the swap space, where `memory.max` does
/// not count it: a memory hog would not be killed but swapped.
fn forbid_swap(cgroup: &Directory) -> anyhow::Result<()> {
    if cgroup.has("memory.swap.max") {
        return cgroup.write("memory.swap.max", 0);
    }
    // A kernel without the file does not count swap. That is no loss on
    // a machine without swap: then there is only the table's header.
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    ensure!(swaps.lines().count() <= 1, "this kernel can't limit swap");
    Ok(())
}

/// Opens the directory that the child will be born in. See CLONE_INTO_CGROUP
/// in clone(2).
pub(crate) fn open_entrance(cgroup: &Directory) -> anyhow::Result<OwnedFd> {
    open_directory(&cgroup.path)
}
