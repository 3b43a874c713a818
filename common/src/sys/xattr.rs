//! Extended attributes, for which neither the standard library nor nix has a
//! function.

use std::{
    ffi::{CStr, CString},
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, AsRawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
};

/// The kernel gives out no longer list of names: XATTR_LIST_MAX in
/// `linux/limits.h`.
const LIST_MAX: usize = 65536;

/// Whether `file` has the extended attribute `name` with this value.
///
/// To those who may not read them, attributes in `trusted.` do not exist, and
/// some file systems have no attributes at all: that is `false` too. `file`
/// must be open for reading, O_PATH is not enough. See fgetxattr(2) and
/// xattr(7).
pub fn is(file: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<bool> {
    // One byte more, or a longer value would be an error.
    let mut found = vec![0_u8; value.len() + 1];
    match get(file, name, &mut found) {
        Ok(length) => Ok(&found[..length] == value),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENODATA | libc::ERANGE) => Ok(false),
            _ if error.kind() == ErrorKind::Unsupported => Ok(false),
            _ => Err(error),
        },
    }
}

/// Whether the file system of `file` has attributes of the kind `name` is of.
pub fn is_supported(file: impl AsFd, name: &CStr) -> io::Result<bool> {
    match get(file, name, &mut []) {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENODATA) => Ok(true),
            _ if error.kind() == ErrorKind::Unsupported => Ok(false),
            _ => Err(error),
        },
    }
}

/// Whether `path` has an attribute whose name begins with `prefix`. That needs
/// no permission, but those in `trusted.` are seen by the host's root only. See
/// listxattr(2).
pub fn any_begins_with(path: &Path, prefix: &str) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut list = vec![0_u8; LIST_MAX];
    // SAFETY: `path` ends in NUL, and the kernel writes at most `list.len()`
    // bytes, all of them into `list`.
    let length = unsafe {
        libc::listxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len())
    };
    // The length is negative only when the call has failed.
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return match error.kind() {
            ErrorKind::Unsupported => Ok(false),
            _ => Err(error),
        };
    };
    // Each name ends in NUL.
    let mut names = list[..length].split(|byte| *byte == 0);
    Ok(names.any(|name| name.starts_with(prefix.as_bytes())))
}

/// Reads the value into `value` and returns its length; with no room at all
/// only the length.
fn get(file: impl AsFd, name: &CStr, value: &mut [u8]) -> io::Result<usize> {
    let room = match value {
        [] => ptr::null_mut(),
        _ => value.as_mut_ptr(),
    };
    // SAFETY: `name` ends in NUL, and the kernel writes at most `value.len()`
    // bytes, all of them into `value`.
    let length = unsafe {
        libc::fgetxattr(
            file.as_fd().as_raw_fd(),
            name.as_ptr(),
            room.cast(),
            value.len(),
        )
    };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}
