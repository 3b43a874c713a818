//! What root is still allowed to do: capabilities and `no_new_privs`.
//!
//! The kernel splits root's power into some forty capabilities. The first
//! process of a user namespace has all of them there, and could mount file
//! systems, set up network interfaces or change the host name. A container's
//! root needs a few: to give files away, to become another user, to listen on
//! port 80. See capabilities(7) and user_namespaces(7).

use anyhow::Context;
use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use libc::c_ulong;
use nix::errno::Errno;
use nix::sys::prctl;

/// The capabilities that stay: Docker's default set without `CAP_MKNOD` and
/// `CAP_AUDIT_WRITE`.
///
/// Those two give nothing in a user namespace. The kernel asks for them in the
/// first user namespace, the host's: a device node is `EPERM` for everybody
/// else, and a record in the audit log `ECONNREFUSED`, so that programs take it
/// for a kernel without audit. See audit_netlink_ok() in kernel/audit.c.
pub const KEPT: [Capability; 12] = [
    // Files: whose they are, and who may use them.
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETFCAP,
    // Becoming another user, with fewer capabilities.
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    // Signals to the processes of other users, in this PID namespace.
    Capability::CAP_KILL,
    // Ports below 1024, and ping(8), in this network namespace.
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_RAW,
    // chroot(2), below a root that is the container's own.
    Capability::CAP_SYS_CHROOT,
];

/// Gives up every capability but [`KEPT`], for this process and for whatever
/// it executes, and sets `no_new_privs`.
///
/// Must run as root of the user namespace and after everything that needs one
/// of the lost capabilities, mounting above all. There is no way back. See
/// capabilities(7).
pub fn drop() -> anyhow::Result<()> {
    reduce().context("dropping privileges")
}

fn reduce() -> anyhow::Result<()> {
    // The bounding set first: changing it takes CAP_SETPCAP. It decides what
    // execve(2) gives to a program that is run by uid 0, so without this the
    // command would get back all that is dropped below.
    bound()?;

    // Inheritable and ambient capabilities are the two ways to hand some to a
    // program that isn't run by root. Nobody here needs them.
    errno(caps::clear(None, CapSet::Ambient))
        .context("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)")?;
    errno(caps::clear(None, CapSet::Inheritable))
        .context("capset({inheritable=0})")?;

    // What this process may do (effective) and what it could take back
    // (permitted). The effective ones go first: they are a part of the
    // permitted ones at all times, otherwise capset(2) is EPERM.
    let kept = CapsHashSet::from(KEPT);
    errno(caps::set(None, CapSet::Effective, &kept))
        .context("capset({effective=KEPT})")?;
    errno(caps::set(None, CapSet::Permitted, &kept))
        .context("capset({permitted=KEPT})")?;

    // From now on no execve(2) adds a privilege: set-user-ID bits and file
    // capabilities are ignored, for all descendants. A seccomp filter needs it
    // too. See prctl(2), PR_SET_NO_NEW_PRIVS.
    prctl::set_no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS, 1)")?;

    // PID 1 is still our program, with what the host gave it: environment,
    // descriptors, its file on the host's disk. Without this the container's
    // root could get at all of it through /proc/1. See prctl(2), PR_SET_DUMPABLE.
    prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE, 0)")
}

/// Reduces the bounding set to [`KEPT`].
///
/// The loop runs over numbers, not over the names that the caps crate knows:
/// a capability that a newer kernel has added is dropped as well.
fn bound() -> anyhow::Result<()> {
    // The kernel reads a long, and a plain 0 would be passed as an int.
    const UNUSED: c_ulong = 0;
    let kept = KEPT.map(|capability| capability.index());
    for capability in (0..64).filter(|number| !kept.contains(number)) {
        // SAFETY: PR_CAPBSET_DROP takes a number and no pointer. A number that
        // the kernel doesn't know is an error and changes nothing.
        let dropped = unsafe {
            libc::prctl(
                libc::PR_CAPBSET_DROP,
                c_ulong::from(capability),
                UNUSED,
                UNUSED,
                UNUSED,
            )
        };
        match Errno::result(dropped) {
            // The last one was the kernel's last. (It is also in
            // /proc/sys/kernel/cap_last_cap, but /proc may not be there.)
            Err(Errno::EINVAL) => break,
            dropped => dropped.with_context(|| {
                format!("prctl(PR_CAPBSET_DROP, {capability})")
            })?,
        };
    }
    Ok(())
}

/// Gives the errno of a call that the caps crate has made: its own error has
/// it only as a text.
fn errno(result: Result<(), CapsError>) -> Result<(), Errno> {
    result.map_err(|_| Errno::last())
}
