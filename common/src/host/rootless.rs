//! Becoming root without being root.

use anyhow::Context;
use nix::{
    sched::CloneFlags,
    unistd::{getegid, geteuid},
};

use super::{files::write_kernel_file, machine};
use crate::sys;

/// Gives a plain user the rights that the following calls need, by making this
/// process root in a user namespace of its own. For root it does nothing.
///
/// This is what `unshare --map-root-user` does: one user id and one group id
/// are mapped, ours, to 0. Outside nothing changes: we are still the user that
/// we were. Step 6 makes a user namespace of the container's own instead, and
/// explains it. See user_namespaces(7).
///
/// The process must have only one thread, or the kernel refuses (`EINVAL`).
///
/// # Errors
/// We are nobody in this user namespace.
pub fn become_root() -> anyhow::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        return Ok(());
    }
    let become_root = || {
        sys::unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| {
            match machine::check_ids() {
                Ok(()) => error.into(),
                // For this there is one errno with many causes.
                Err(we_are_nobody) => we_are_nobody,
            }
        })?;
        // Without "deny" first, an unprivileged gid_map is EPERM: whoever may
        // drop a group could get at files that deny access to just that group.
        write_kernel_file("/proc/self/setgroups", "deny")?;
        write_kernel_file("/proc/self/uid_map", &format!("0 {uid} 1"))?;
        write_kernel_file("/proc/self/gid_map", &format!("0 {gid} 1"))?;
        anyhow::Ok(())
    };
    become_root().context("becoming root in a user namespace")
}
