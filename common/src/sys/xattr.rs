//! Extended attributes, for which neither the standard library nor nix has a
//! function. See xattr(7).

use std::{
    ffi::CStr,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    ptr,
};

use nix::{NixPath, errno::Errno};

use super::{
    Result,
    argument::{SHOWN, Word, quote},
    call,
};

/// The kernel gives out no longer list of names: XATTR_LIST_MAX in
/// `linux/limits.h`.
const LIST_MAX: usize = 65536;

/// Whether `file` has the extended attribute `name` with this value.
///
/// To those who may not read them, attributes in `trusted.` do not exist, and
/// some file systems have no attributes at all: that is `false` too. `file`
/// must be open for reading, O_PATH is not enough.
#[track_caller]
pub fn is(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<bool> {
    Ok(compare(file, name, value)? == Some(true))
}

/// Whether `file` has the extended attribute `name` with another value than
/// this one. Without such an attribute, as [`is`] has it, that is `false`.
#[track_caller]
pub fn is_another(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<bool> {
    Ok(compare(file, name, value)? == Some(false))
}

/// Whether the attribute has this value; `None` if there is none.
#[track_caller]
fn compare(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<Option<bool>> {
    // One byte more, or a longer value would be an error.
    let mut found = vec![0_u8; value.len() + 1];
    match fgetxattr(file, name, &mut found) {
        Ok(length) => Ok(length.map(|it| &found[..it] == value)),
        Err(error) => match error.errno {
            Errno::ERANGE => Ok(Some(false)),
            errno if means_none(errno) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Whether the file system of `file` has attributes of the kind `name` is of.
#[track_caller]
pub fn is_supported(file: impl AsFd, name: &CStr) -> Result<bool> {
    match fgetxattr(file, name, &mut []) {
        Ok(_) => Ok(true),
        Err(error) if means_none(error.errno) => Ok(false),
        Err(error) => Err(error),
    }
}

/// See fsetxattr(2): gives the file the attribute, or changes it.
#[track_caller]
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<()> {
    let fd = file.as_fd();
    // SAFETY: the descriptor is borrowed, so open; `name` ends in NUL, and the
    // kernel reads no more than `value` has.
    let set = unsafe {
        libc::fsetxattr(
            fd.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    let set = Errno::result(set).map(drop);
    let shown = Word(quote(value, SHOWN));
    call!(fsetxattr(fd, name, shown, value.len(), 0), set)
}

/// Whether `path` has an attribute whose name begins with `prefix`. That needs
/// no permission, but those in `trusted.` are seen by the host's root only.
#[track_caller]
pub fn any_begins_with(path: &Path, prefix: &str) -> Result<bool> {
    let mut list = vec![0_u8; LIST_MAX];
    match listxattr(path, &mut list) {
        Ok(length) => {
            // Each name ends in NUL.
            let mut names = list[..length].split(|byte| *byte == 0);
            Ok(names.any(|name| name.starts_with(prefix.as_bytes())))
        }
        Err(error) if means_none(error.errno) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether it says that there are no such attributes: in the file system, or in
/// the kernel.
fn means_none(errno: Errno) -> bool {
    [Errno::EOPNOTSUPP, Errno::ENOSYS].contains(&errno)
}

/// See fgetxattr(2): reads the value into `value` and returns its length; with
/// no room at all only the length. `None` where there is no such attribute:
/// most files have none, so that is no error (`ENODATA`) here.
fn fgetxattr(
    fd: impl AsFd,
    name: &CStr,
    value: &mut [u8],
) -> Result<Option<usize>> {
    let (fd, size) = (fd.as_fd(), value.len());
    let room = match value {
        [] => ptr::null_mut(),
        _ => value.as_mut_ptr(),
    };
    // SAFETY: the descriptor is borrowed, so open; `name` ends in NUL, and the
    // kernel writes at most `size` bytes, all of them into `value`.
    let length = unsafe {
        libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), room.cast(), size)
    };
    match as_length(length) {
        Err(Errno::ENODATA) => Ok(None),
        length => call!(fgetxattr(fd, name), length.map(Some)),
    }
}

/// See listxattr(2): reads the names into `list` and returns their length. A
/// symbolic link at the end of `path` is followed.
fn listxattr(path: &Path, list: &mut [u8]) -> Result<usize> {
    let listed = path.with_nix_path(|path| {
        // SAFETY: `path` ends in NUL, and the kernel writes at most
        // `list.len()` bytes, all of them into `list`.
        let length = unsafe {
            libc::listxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len())
        };
        as_length(length)
    });
    call!(listxattr(path), listed.flatten())
}

/// What a call has returned: a length, or -1, and then there is an errno.
fn as_length(returned: isize) -> nix::Result<usize> {
    Errno::result(returned).map(isize::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_there_or_the_text_says_what_was_to_be() {
        let file = super::super::memfd::executable(c"x").expect("a file");
        let error = set(&file, c"odd.name", b"x").expect_err("no such kind");
        let text = error.to_string();
        assert!(text.ends_with(", \"odd.name\", \"x\", 1, 0)"), "{text}");
        // Not each file system has such, nor may everybody.
        if set(&file, c"trusted.test", b"x").is_ok() {
            assert_eq!(is(&file, c"trusted.test", b"x"), Ok(true));
            assert_eq!(is(&file, c"trusted.test", b"y"), Ok(false));
        }
    }
}
