//! What a student's program must not change: everything outside.
#![allow(unsafe_code)]

use std::fs;

use anyhow::Context;
use libc::mount_attr;
use nix::{NixPath, errno::Errno};

/// Makes all mounts of this mount namespace read-only, but for the kernel's own
/// files below `/proc` and `/sys`: there the steps have to write, and their
/// owner decides who may. What is mounted from now on can be written to.
///
/// Root of a plain user's sandbox *is* that user, who may write to what nobody
/// else can even see. See mount_setattr(2), since Linux 5.12.
///
/// # Errors
/// That of the call that failed.
pub(crate) fn make_all_read_only() -> anyhow::Result<()> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    set_attributes("/", libc::AT_RECURSIVE, libc::MOUNT_ATTR_RDONLY, 0)?;
    for line in mountinfo.lines() {
        // Field 5 is where it is mounted, field 6 the options of this mount.
        let mut fields = line.split(' ').skip(4);
        let (Some(place), Some(options)) = (fields.next(), fields.next())
        else {
            continue;
        };
        let below = |top| {
            let rest = place.strip_prefix(top);
            rest.is_some_and(|it| it.is_empty() || it.starts_with('/'))
        };
        let was_writable = options.split(',').any(|option| option == "rw");
        // And the nodes of /dev, which are root's: a step protects them by a mount
        // of its own, and here that would not show.
        let has_owner = below("/proc") || below("/sys") || place == "/dev";
        if was_writable && has_owner {
            set_attributes(place, 0, 0, libc::MOUNT_ATTR_RDONLY)?;
        }
    }
    Ok(())
}

fn set_attributes(
    path: &str,
    flags: libc::c_int,
    attr_set: u64,
    attr_clr: u64,
) -> anyhow::Result<()> {
    let attr = mount_attr {
        attr_set,
        attr_clr,
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
    match done.and_then(Errno::result) {
        // Another mount covers it, which is in the list as well.
        Err(Errno::EINVAL | Errno::ENOENT) if attr_clr != 0 => Ok(()),
        done => done
            .map(drop)
            .with_context(|| format!("mount_setattr({path:?}, RDONLY)")),
    }
}
