//! The second wall: nothing that is not below the container's `/`.
//!
//! A mount namespace decides what a *path* leads to. A process gets at files
//! without a path, too: by a descriptor that was left open, by a link such as
//! `/proc/self/exe`, by a descriptor that somebody sends it. Landlock asks, at
//! each open, execution and change, where the file *is*: it climbs from the file
//! to the root, and what does not come by a directory that was allowed is
//! refused (`EACCES`). See landlock(7).
//!
//! All that the first wall closes stays closed without it: where the kernel has
//! no Landlock, the container runs all the same, and the doctor says so.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Context;
use common::{
    host::paths::open_directory,
    sys::{self, landlock_ruleset_attr},
};
use nix::{errno::Errno, fcntl::OFlag};

/// The oldest version of the interface that is used, of Linux 5.19: in the one
/// before, no file could be moved to another directory.
const ABI_MIN: libc::c_long = 2;

/// What may be done to a file, from <linux/landlock.h>; the number behind each
/// is the version that brought it.
mod access {
    pub(super) const EXECUTE: u64 = 1; // 1
    pub(super) const WRITE_FILE: u64 = 1 << 1; // 1
    pub(super) const READ_FILE: u64 = 1 << 2; // 1
    /// All of version 2: also directories, what is made and removed in them,
    /// and moving from one to another.
    pub(super) const VERSION_2: u64 = (1 << 14) - 1;
    pub(super) const TRUNCATE: u64 = 1 << 14; // 3
    pub(super) const IOCTL_DEV: u64 = 1 << 15; // 5
}

/// What a right means for a file that is no directory.
const FILE: u64 = access::EXECUTE
    | access::WRITE_FILE
    | access::READ_FILE
    | access::TRUNCATE
    | access::IOCTL_DEV;

/// Signals to processes outside are refused, too. Since version 6.
const SCOPE_SIGNAL: u64 = 1 << 1;

/// Confines this process and all its descendants to what lies below `/`.
///
/// A message queue is opened by mq_open(3) without a path: the kernel looks it up
/// in a mount of its own, which has the root in common with `/dev/mqueue`.
///
/// What was handed in as standard input, output and error lies elsewhere, and
/// may be opened again as it was given: what is open for reading, for reading.
///
/// Must run after the root was entered, and with `no_new_privs` set. There is no
/// way back. Without Landlock it does nothing. See landlock_restrict_self(2).
pub fn confine() -> anyhow::Result<()> {
    confine_with(SCOPE_SIGNAL)
}

/// The same for who enters a container that runs, and is to send signals there:
/// to Landlock, who was confined elsewhere is outside. No signal leaves the PID
/// namespace all the same.
///
/// What ptrace(2) may do stays refused, and so does what asks for the same right,
/// such as reading `/proc/PID/environ` of those that were there before.
pub fn confine_newcomer() -> anyhow::Result<()> {
    confine_with(0)
}

/// Confines this process and all its descendants to what lies below `/`. What
/// `scope` has in it is refused to them outside of it, too.
fn confine_with(scope: u64) -> anyhow::Result<()> {
    let confine = || {
        let Some(version) = version()? else {
            return Ok(());
        };
        let files = handled(version);
        let ruleset = sys::landlock_create_ruleset(&landlock_ruleset_attr {
            handled_access_fs: files,
            handled_access_net: 0,
            scoped: if version >= 6 { scope } else { 0 },
        })?;
        for directory in ["/", "/dev/mqueue"] {
            let directory = open_directory(directory.as_ref())?;
            sys::landlock_add_rule(&ruleset, files, directory)?;
        }
        for stream in sys::standard_streams() {
            allow_again(&ruleset, stream, files)?;
        }
        anyhow::Ok(sys::landlock_restrict_self(&ruleset)?)
    };
    confine().context("confining the container to its root")
}

/// The version of the kernel's Landlock, if that is one that we can use.
///
/// See landlock_create_ruleset(2), `LANDLOCK_CREATE_RULESET_VERSION`.
pub fn version() -> sys::Result<Option<libc::c_long>> {
    match sys::landlock_version() {
        // The kernel was built without it, or started without it.
        Err(error)
            if matches!(error.errno, Errno::ENOSYS | Errno::EOPNOTSUPP) =>
        {
            Ok(None)
        }
        version => Ok(Some(version?).filter(|version| *version >= ABI_MIN)),
    }
}

/// Everything about files that this version knows.
fn handled(version: libc::c_long) -> u64 {
    let newer = |since, right| if version >= since { right } else { 0 };
    access::VERSION_2 | newer(3, access::TRUNCATE) | newer(5, access::IOCTL_DEV)
}

/// Allows to open `file` once more, as it is open now.
fn allow_again(
    ruleset: impl AsFd,
    file: BorrowedFd<'_>,
    handled: u64,
) -> sys::Result<()> {
    let access = match sys::fcntl_getfl(file)? & OFlag::O_ACCMODE {
        OFlag::O_RDONLY => access::READ_FILE,
        OFlag::O_WRONLY => access::WRITE_FILE | access::TRUNCATE,
        _ => access::READ_FILE | access::WRITE_FILE | access::TRUNCATE,
    };
    let access = (access | access::IOCTL_DEV) & FILE & handled;
    match sys::landlock_add_rule(ruleset, access, file) {
        // Landlock does not ask about a pipe or a socket.
        Err(error) if error.errno == Errno::EBADFD => Ok(()),
        added => added,
    }
}
