//! Mounts that a student's program must not write through.
#![allow(unsafe_code)]

use std::path::Path;

use anyhow::Context;
use libc::mount_attr;
use nix::{NixPath, errno::Errno};

/// Makes the mount at `path` read-only, or that and all below it: `flags` is 0,
/// or `AT_RECURSIVE`.
///
/// Root of a plain user's sandbox *is* that user, who may write to what nobody
/// else can even see. See mount_setattr(2), since Linux 5.12.
///
/// # Errors
/// That of the call.
pub(crate) fn make_read_only(
    path: &Path,
    flags: libc::c_int,
) -> anyhow::Result<()> {
    let attr = mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let done = path.with_nix_path(|path| {
        // SAFETY: the kernel only reads what the two pointers lead to, of the
        // second as many bytes as the last argument says.
        unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                libc::AT_FDCWD,
                path.as_ptr(),
                flags,
                &raw const attr,
                size_of::<mount_attr>(),
            )
        }
    });
    done.and_then(Errno::result)
        .map(drop)
        .with_context(|| format!("mount_setattr({path:?}, RDONLY)"))
}
