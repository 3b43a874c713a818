//! `/proc/self/mountinfo`: what is mounted, one line a mount. See proc(5).

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// A mount that this process sees.
pub(crate) struct Mount<'a> {
    /// Which directory of the file system is at the mount point. It is not `/`
    /// in a container that sees only its part of the tree.
    pub(super) root: &'a str,
    pub(crate) mount_point: &'a str,
    pub(crate) file_system: &'a str,
    /// The options of the file system, not of this mount of it: on version 1,
    /// the controllers are among them.
    pub(super) super_options: &'a str,
}

impl Mount<'_> {
    /// The fields are separated by spaces, in this order:
    /// `35 31 0:32 / /sys/fs/cgroup/memory rw … - cgroup cgroup rw,memory`
    pub(crate) fn parse(line: &str) -> Option<Mount<'_>> {
        // By bytes: at each start this reads a line for each mount that there is.
        let mut fields = line.as_bytes().split(|byte| *byte == b' ');
        let (root, mount_point) = (fields.nth(3)?, fields.next()?);
        // In front of it there may be any number of fields.
        fields.find(|field| *field == b"-")?;
        let (file_system, super_options) = (fields.next()?, fields.nth(1)?);
        Some(Mount {
            root: str::from_utf8(root).ok()?,
            mount_point: str::from_utf8(mount_point).ok()?,
            file_system: str::from_utf8(file_system).ok()?,
            super_options: str::from_utf8(super_options).ok()?,
        })
    }
}

/// Undoes the kernel's escapes: a space is `\040` in mountinfo, a backslash
/// `\134`.
pub(super) fn unescape(field: &str) -> PathBuf {
    let mut parts = field.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).map(|code| u8::from_str_radix(code, 8)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[3..]);
            }
            _ => bytes.extend_from_slice(part.as_bytes()),
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}
