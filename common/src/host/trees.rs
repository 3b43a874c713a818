//! Whole directories: how to be rid of one, however deep it is.

use std::{ffi::OsString, os::fd::OwnedFd, path::Path};

use nix::{errno::Errno, fcntl::OFlag, unistd::UnlinkatFlags};

use super::files::by_number;
use crate::sys;

/// A directory on the way down.
struct Level {
    /// What it is called in the one above.
    name: OsString,
    /// What is still in it.
    names: Vec<OsString>,
}

/// Removes the directory `path` and all that is in it.
///
/// A container may make directories in one another without an end. So only one
/// of them is open at a time, where [`std::fs::remove_dir_all`] has a descriptor
/// for each level, and the way back is `..`. Nobody else may move anything in
/// there meanwhile. Works while `/proc` is in its place.
///
/// # Errors
/// `ENOENT` if it is not there.
pub fn remove_tree(path: &Path) -> sys::Result<()> {
    let mut here = open(None, path)?;
    let mut levels = vec![level(&here, path.into())?];
    while let Some(level_here) = levels.last_mut() {
        if let Some(name) = level_here.names.pop() {
            match sys::unlinkat(&here, &name, UnlinkatFlags::NoRemoveDir) {
                Err(error) if error.errno == Errno::EISDIR => {
                    here = open(Some(&here), name.as_ref())?;
                    levels.push(level(&here, name)?);
                }
                Err(error) if error.errno != Errno::ENOENT => {
                    return Err(error);
                }
                _ => {}
            }
            continue;
        }
        let name = levels.pop().map(|it| it.name);
        if let Some(name) = name.filter(|_| !levels.is_empty()) {
            here = open(Some(&here), "..".as_ref())?;
            sys::unlinkat(&here, name, UnlinkatFlags::RemoveDir)?;
        }
    }
    sys::rmdir(path)
}

fn open(parent: Option<&OwnedFd>, name: &Path) -> sys::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    match parent {
        Some(parent) => sys::openat(parent, name, flags, 0),
        None => sys::open(name, flags, 0),
    }
}

fn level(directory: &OwnedFd, name: OsString) -> sys::Result<Level> {
    let names = sys::readdir(by_number(directory))?;
    Ok(Level { name, names })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use nix::sys::stat::{Mode, mkdirat};

    use super::*;

    #[test]
    fn a_directory_may_be_deeper_than_there_are_descriptors() {
        let dir = format!("trees-{}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        let (top, other) = (dir.join("top"), dir.join("other"));
        fs::create_dir_all(&top).expect("mkdir");
        fs::create_dir(&other).expect("mkdir");
        fs::write(other.join("file"), "kept").expect("write");
        symlink(&other, top.join("link")).expect("symlink");
        let mut here = open(None, &top).expect("open");
        // Longer than a path may be, and deeper than 1024.
        for _ in 0..3000 {
            mkdirat(&here, "d", Mode::S_IRWXU).expect("mkdirat");
            here = open(Some(&here), "d".as_ref()).expect("openat");
        }
        drop(here);
        remove_tree(&top).expect("it is removed");
        assert!(!top.exists());
        assert!(other.join("file").exists());
        let error = remove_tree(&top).expect_err("it is gone");
        assert_eq!(error.errno, Errno::ENOENT);
        remove_tree(&dir).expect("it is removed");
    }
}
