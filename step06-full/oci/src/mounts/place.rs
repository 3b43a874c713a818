//! Where a mount goes: looked up in a root that somebody else has filled.

use std::{
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use anyhow::ensure;
use common::{
    host::{
        files::{by_number, path_of},
        paths::open_directory,
    },
    sys,
};
use nix::fcntl::{OFlag, ResolveFlag};
use step06_full::volumes::open_in_root;

/// The destination, from the root: `..` leads no higher, and one that is
/// relative begins there, too.
pub(super) fn cleaned(destination: &str) -> PathBuf {
    let mut path = PathBuf::from("/");
    for part in Path::new(destination).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    path
}

/// Checks that `target` is in the root, and not the root itself: that would
/// cover all.
pub(crate) fn is_below(root: &Path, target: &OwnedFd) -> anyhow::Result<()> {
    let place = path_of(target)?;
    let root = path_of(&open_directory(root)?)?;
    ensure!(
        place.starts_with(&root) && place != root,
        "{place:?} is no place below the root {root:?}"
    );
    Ok(())
}

/// Opens the uppermost mount at `destination` below `root`.
pub(in crate::mounts) fn open_mounted(
    root: &Path,
    destination: &Path,
) -> anyhow::Result<OwnedFd> {
    let root = open_directory(root)?;
    Ok(open_in_root(&root, destination, ResolveFlag::empty())?)
}

/// Opens for reading, as a directory, what is open as a path.
pub(super) fn reopen_directory(file: &OwnedFd) -> sys::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    sys::open(by_number(file), flags, 0)
}
