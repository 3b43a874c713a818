//! What of the root file system the container may not see, and what it may not
//! write to: `maskedPaths` and `readonlyPaths`.
//!
//! Step 6 has such lists, too, of the kernel's files only. Here a path may lie
//! anywhere, so each is looked up as the container would, and covered by the
//! descriptor.

use std::{os::fd::OwnedFd, path::Path};

use anyhow::{Context, ensure};
use common::{
    host::{
        files::{by_number, file_type},
        paths::open_directory,
    },
    sys,
};
use nix::{errno::Errno, mount::MsFlags, sys::stat::SFlag};
use step06_full::{mount_api, volumes::find_in_root};

use crate::mounts;

/// Hides each path below `root` that there is: a directory behind an empty one,
/// anything else behind `/dev/null`.
pub(crate) fn mask(root: &Path, paths: &[String]) -> anyhow::Result<()> {
    for path in paths {
        mask_one(root, path).with_context(|| format!("masking {path:?}"))?;
    }
    Ok(())
}

fn mask_one(root: &Path, path: &str) -> anyhow::Result<()> {
    let Some(target) = find(root, path)? else {
        return Ok(());
    };
    if file_type(&sys::fstat(&target)?) == SFlag::S_IFDIR {
        let flags = MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOEXEC;
        let at = by_number(&target);
        return Ok(sys::mount("tmpfs", at, "tmpfs", flags, "size=0k")?);
    }
    // That of the host, and nobody can change its node through this mount.
    let null = mount_api::copy(Path::new("/dev/null"), 0)?;
    mount_api::add_attributes(&null, 0, libc::MOUNT_ATTR_RDONLY)?;
    Ok(mount_api::attach(null, target)?)
}

/// Makes each path below `root` that there is read-only, with all below it.
pub(crate) fn make_read_only(
    root: &Path,
    paths: &[String],
) -> anyhow::Result<()> {
    for path in paths {
        make_one_read_only(root, path)
            .with_context(|| format!("making {path:?} read-only"))?;
    }
    Ok(())
}

fn make_one_read_only(root: &Path, path: &str) -> anyhow::Result<()> {
    let Some(target) = find(root, path)? else {
        return Ok(());
    };
    let all = libc::AT_RECURSIVE;
    let copy = mount_api::copy(&by_number(&target), all)?;
    mount_api::add_attributes(&copy, all, libc::MOUNT_ATTR_RDONLY)?;
    Ok(mount_api::attach(copy, target)?)
}

/// What is at `path`, as the container sees it; `None` if there is nothing.
fn find(root: &Path, path: &str) -> anyhow::Result<Option<OwnedFd>> {
    let path = Path::new(path);
    ensure!(path.is_absolute(), "it is not absolute");
    let found = match find_in_root(&open_directory(root)?, path) {
        Err(error) if error.errno == Errno::ENOTDIR => None,
        found => found?,
    };
    if let Some(target) = &found {
        // What covers the root is left behind when that becomes `/`.
        mounts::is_below(root, target)?;
    }
    Ok(found)
}

/// Makes the root file system read-only, and only that. See mount_setattr(2).
pub(crate) fn make_root_read_only(root: &Path) -> anyhow::Result<()> {
    let mount = open_directory(root)?;
    mount_api::add_attributes(mount, 0, libc::MOUNT_ATTR_RDONLY)
        .context("making the root file system read-only")
}
