//! The cgroup namespace.
//!
//! It decides where the paths in `/proc/self/cgroup` begin: at the cgroup in
//! which the process was when the namespace was made. The others that step 6
//! adds (user, network, IPC) are flags for the new process, and need no more
//! than that. See cgroup_namespaces(7).

use anyhow::Context;
use common::sys;
use nix::sched::CloneFlags;

/// Makes the container's cgroup the root of what it sees of the cgroup tree.
///
/// Must run after the process has joined its cgroup: otherwise the namespace
/// begins at the cgroup of its parent, and the real path shows.
pub fn hide_cgroup_path() -> anyhow::Result<()> {
    sys::unshare(CloneFlags::CLONE_NEWCGROUP)
        .context("hiding the path of the cgroup")
}
