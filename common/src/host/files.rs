//! Files: what they are, how to name them, and those that the kernel writes.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    sys::stat::{FileStat, SFlag},
};

use crate::sys;

/// A path that leads to the open file `file`, whatever its name is by now: here
/// the name is its number. Works while the host's `/proc` is in its place. See
/// proc(5).
pub fn by_number(file: &impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

/// Where the open file `file` is: an absolute path without symbolic links. What
/// is there a moment later may be another file.
pub fn path_of(file: &impl AsFd) -> anyhow::Result<PathBuf> {
    Ok(sys::readlink(by_number(file))?.into())
}

/// What kind of file it is: `S_IFREG`, `S_IFDIR` and so on. See inode(7).
pub fn file_type(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

/// Writes `text` to a file below `/proc` or `/sys`, which must exist, in one
/// write(2): the kernel takes each for the whole.
#[track_caller]
pub fn write_kernel_file(
    path: impl AsRef<Path>,
    text: &str,
) -> sys::Result<()> {
    sys::write(sys::open(path, OFlag::O_WRONLY, 0)?, text)
}

/// Reads a file below `/proc` or `/sys`.
///
/// The kernel writes such a file anew for each read(2), and says that its size
/// is 0, so that fs::read would begin with 32 bytes at a time.
///
/// # Errors
/// That of open(2) or read(2).
#[track_caller]
pub fn read_kernel_file(path: impl AsRef<Path>) -> sys::Result<Vec<u8>> {
    let file = File::from(sys::open(path, OFlag::O_RDONLY, 0)?);
    let mut bytes = Vec::with_capacity(16 * 1024);
    sys::read_to_end(file, &mut bytes)?;
    Ok(bytes)
}

/// The text of a file, which need not be UTF-8: what is none in it is replaced.
/// Most of what the kernel writes is, and then this only looks, and copies
/// nothing.
pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    })
}
