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

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::Context;
use common::host::paths::open_directory;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
};

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

/// `struct landlock_ruleset_attr`: what is refused unless a rule allows it.
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`: allows something for a file, or for all
/// that lies below a directory.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: RawFd,
}

/// Confines this process and all its descendants to what lies below `/`.
///
/// A message queue is opened by mq_open(3) without a path: the kernel looks it up
/// in a mount of its own, which has the root in common with `/dev/mqueue`.
///
/// What was handed in as standard input, output and error lies elsewhere, and
/// may be opened again as it was given: what is open for reading, for reading.
///
/// Must run after the root was entered, and with `no_new_privs` set. There is no
/// way back. Without Landlock it does nothing.
///
/// # Errors
/// That of the call that failed. See landlock_restrict_self(2).
pub fn confine() -> anyhow::Result<()> {
    let confine = || {
        let Some(version) = version()? else {
            return Ok(());
        };
        let files = handled(version);
        let ruleset = create_ruleset(version, files)?;
        for directory in ["/", "/dev/mqueue"] {
            allow(&ruleset, open_directory(directory.as_ref())?, files)
                .with_context(|| format!("landlock_add_rule({directory:?})"))?;
        }
        for number in libc::STDIN_FILENO..=libc::STDERR_FILENO {
            allow_again(&ruleset, number, files)
                .with_context(|| format!("landlock_add_rule({number})"))?;
        }
        restrict_self(&ruleset)
    };
    confine().context("confining the container to its root")
}

/// The version of the kernel's Landlock, if that is one that we can use.
///
/// See landlock_create_ruleset(2), `LANDLOCK_CREATE_RULESET_VERSION`.
pub fn version() -> anyhow::Result<Option<libc::c_long>> {
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
    let (attributes, size) = (std::ptr::null::<Ruleset>(), 0_usize);
    // SAFETY: for this flag the kernel wants a null pointer and no size.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attributes,
            size,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    match Errno::result(version) {
        // The kernel was built without it, or started without it.
        Err(Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(None),
        version => {
            let version = version.context("landlock_create_ruleset()")?;
            Ok(Some(version).filter(|version| *version >= ABI_MIN))
        }
    }
}

/// Everything about files that this version knows.
fn handled(version: libc::c_long) -> u64 {
    let newer = |since, right| if version >= since { right } else { 0 };
    access::VERSION_2 | newer(3, access::TRUNCATE) | newer(5, access::IOCTL_DEV)
}

fn create_ruleset(
    version: libc::c_long,
    files: u64,
) -> anyhow::Result<OwnedFd> {
    let attributes = Ruleset {
        handled_access_fs: files,
        handled_access_net: 0,
        scoped: if version >= 6 { SCOPE_SIGNAL } else { 0 },
    };
    // SAFETY: the structure lives through the call, which reads as many bytes of
    // it as we say. An older kernel knows fewer fields, and takes it because the
    // others are zero.
    let ruleset = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<Ruleset>(),
            0,
        )
    };
    let ruleset =
        Errno::result(ruleset).context("landlock_create_ruleset()")?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(ruleset as RawFd) })
}

/// Allows what is in `access` for `parent` and all below it.
fn allow(ruleset: &OwnedFd, parent: impl AsFd, access: u64) -> nix::Result<()> {
    const LANDLOCK_RULE_PATH_BENEATH: libc::c_int = 1;
    let rule = PathBeneath {
        allowed_access: access,
        parent_fd: parent.as_fd().as_raw_fd(),
    };
    // SAFETY: the structure lives through the call, which only reads it; both
    // descriptors are borrowed, so open.
    let done = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            LANDLOCK_RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    Errno::result(done).map(drop)
}

/// Allows to open the file that is descriptor `number` once more, as it is open
/// now.
fn allow_again(
    ruleset: &OwnedFd,
    number: RawFd,
    handled: u64,
) -> nix::Result<()> {
    // SAFETY: nothing in this program closes the first three descriptors, and
    // where they were closed at the start, Rust's runtime opened /dev/null on
    // them.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = OFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GETFL)?);
    let access = match flags & OFlag::O_ACCMODE {
        OFlag::O_RDONLY => access::READ_FILE,
        OFlag::O_WRONLY => access::WRITE_FILE | access::TRUNCATE,
        _ => access::READ_FILE | access::WRITE_FILE | access::TRUNCATE,
    };
    let access = (access | access::IOCTL_DEV) & FILE & handled;
    match allow(ruleset, file, access) {
        // Landlock does not ask about a pipe or a socket.
        Err(Errno::EBADFD) => Ok(()),
        result => result,
    }
}

fn restrict_self(ruleset: &OwnedFd) -> anyhow::Result<()> {
    // SAFETY: the call takes two integers; the descriptor is open.
    let done = unsafe {
        libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0)
    };
    Errno::result(done)
        .map(drop)
        .context("landlock_restrict_self()")
}
