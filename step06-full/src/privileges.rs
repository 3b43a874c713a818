//! What root is still allowed to do: capabilities and `no_new_privs`.
//!
//! The kernel splits root's power into some forty capabilities. The first
//! process of a user namespace has all of them there, and could mount file
//! systems, set up network interfaces or change the host name. A container's
//! root needs a few: to give files away, to become another user, to listen on
//! port 80. See capabilities(7) and user_namespaces(7).

use anyhow::Context;
use common::sys::{self, Capabilities};
use nix::errno::Errno;

/// The capabilities that stay: Docker's default set without `CAP_MKNOD` and
/// `CAP_AUDIT_WRITE`.
///
/// Those two give nothing in a user namespace. The kernel asks for them in the
/// first user namespace, the host's: a device node is `EPERM` for everybody
/// else, and a record in the audit log `ECONNREFUSED`, so that programs take it
/// for a kernel without audit. See audit_netlink_ok() in kernel/audit.c.
pub const KEPT: [u32; 12] = [
    // Files: whose they are, and who may use them.
    sys::CAP_CHOWN,
    sys::CAP_DAC_OVERRIDE,
    sys::CAP_FOWNER,
    sys::CAP_FSETID,
    sys::CAP_SETFCAP,
    // Becoming another user, with fewer capabilities.
    sys::CAP_SETUID,
    sys::CAP_SETGID,
    sys::CAP_SETPCAP,
    // Signals to the processes of other users, in this PID namespace.
    sys::CAP_KILL,
    // Ports below 1024, and ping(8), in this network namespace.
    sys::CAP_NET_BIND_SERVICE,
    sys::CAP_NET_RAW,
    // chroot(2), below a root that is the container's own.
    sys::CAP_SYS_CHROOT,
];

/// Gives up every capability but the `kept` ones, such as [`KEPT`], for this
/// process and for whatever it executes, and sets `no_new_privs`.
///
/// Must run as root of the user namespace and after everything that needs one
/// of the lost capabilities, mounting above all. There is no way back. See
/// capabilities(7).
pub fn reduce_to(kept: &[u32]) -> anyhow::Result<()> {
    reduce(kept).context("dropping privileges")
}

fn reduce(kept: &[u32]) -> sys::Result<()> {
    // The bounding set first: changing it takes CAP_SETPCAP. It decides what
    // execve(2) gives to a program that is run by uid 0, so without this the
    // command would get back all that is dropped below.
    bound(kept)?;

    // Inheritable and ambient capabilities are the two ways to hand some to a
    // program that isn't run by root. Nobody here needs them. The others are
    // what this process may do (effective), and what it could take back
    // (permitted).
    sys::prctl(sys::PR_CAP_AMBIENT, sys::PR_CAP_AMBIENT_CLEAR_ALL)?;
    let kept = kept.iter().fold(0, |set, number| set | 1 << number);
    sys::capset(&Capabilities {
        effective: kept,
        permitted: kept,
        inheritable: 0,
    })?;

    // From now on no execve(2) adds a privilege: set-user-ID bits and file
    // capabilities are ignored, for all descendants. A seccomp filter needs it
    // too. See prctl(2), PR_SET_NO_NEW_PRIVS.
    sys::prctl(sys::PR_SET_NO_NEW_PRIVS, 1)?;

    // PID 1 is still our program, with what the host gave it: environment,
    // descriptors, its file on the host's disk. Without this the container's
    // root could get at all of it through /proc/1. See prctl(2), PR_SET_DUMPABLE.
    sys::prctl(sys::PR_SET_DUMPABLE, 0)
}

/// Reduces the bounding set to the `kept` capabilities.
///
/// The loop runs over numbers, up to the last one that the kernel knows: a
/// capability that a newer one has added is dropped as well.
pub fn bound(kept: &[u32]) -> sys::Result<()> {
    for capability in (0..64).filter(|number| !kept.contains(number)) {
        match sys::prctl(sys::PR_CAPBSET_DROP, capability) {
            // The last one was the kernel's last. (It is also in
            // /proc/sys/kernel/cap_last_cap, but /proc may not be there.)
            Err(error) if error.errno == Errno::EINVAL => break,
            dropped => dropped?,
        }
    }
    Ok(())
}
