//! Extended attributes, for which neither the standard library nor nix has a
//! function.

use std::{
    ffi::{CStr, CString},
    io::{self, ErrorKind},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// The kernel allows no longer values: XATTR_SIZE_MAX in `linux/limits.h`.
const SIZE_MAX: usize = 65536;

/// Returns the value of the extended attribute `name` of `path`, or `None` if
/// there is none. A symbolic link at the end of `path` is not followed.
///
/// To those who may not read them, attributes in `trusted.` do not exist, and
/// some file systems have no attributes at all: that is `None` too. See
/// getxattr(2) and xattr(7).
pub fn get(path: &Path, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut value = vec![0_u8; SIZE_MAX];
    // SAFETY: both strings end in NUL, and the kernel writes at most
    // `value.len()` bytes, all of them into `value`.
    let length = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    // The length is negative only when the call has failed.
    if let Ok(length) = usize::try_from(length) {
        value.truncate(length);
        return Ok(Some(value));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENODATA) => Ok(None),
        _ if error.kind() == ErrorKind::Unsupported => Ok(None),
        _ => Err(error),
    }
}
