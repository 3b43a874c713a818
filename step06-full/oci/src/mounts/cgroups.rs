//! A mount of type `cgroup`: what the container sees of its cgroup.

use std::path::Path;

use anyhow::Context;
use common::{host::files::by_number, sys};
use nix::mount::MsFlags;
use step06_full::{mount_api, volumes::open_or_create};

use super::{Options, place::open_mounted};
use crate::cgroup::Cgroup;

const FLAGS: u64 =
    libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// On version 2 it is one file system; on version 1 a directory for each tree,
/// in which the container's own cgroup is.
pub(super) fn mount(
    root: &Path,
    destination: &Path,
    cgroup: &Cgroup,
    options: &Options,
) -> anyhow::Result<()> {
    let mut attributes = FLAGS;
    if options.flags.contains(MsFlags::MS_RDONLY) {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    let target = open_or_create(root, destination, true)?;
    if let Some(directory) = cgroup.unified() {
        let own = mount_api::copy(directory, 0)?;
        mount_api::add_attributes(&own, 0, attributes)?;
        return Ok(mount_api::attach(own, target)?);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    sys::mount("tmpfs", by_number(&target), "tmpfs", flags, "mode=755")?;
    for (name, directory) in cgroup.trees() {
        let place = destination.join(&name);
        let place = open_or_create(root, &place, true)?;
        let own = mount_api::copy(&directory, 0)
            .with_context(|| format!("the cgroup {directory:?}"))?;
        mount_api::add_attributes(&own, 0, attributes)?;
        mount_api::attach(own, place)?;
        link(root, destination, &name)?;
    }
    if options.flags.contains(MsFlags::MS_RDONLY) {
        let mounted = open_mounted(root, destination)?;
        mount_api::add_attributes(mounted, 0, libc::MOUNT_ATTR_RDONLY)?;
    }
    Ok(())
}

/// `cpu` and `cpuacct` lead to `cpu,cpuacct`, where that is one tree.
fn link(root: &Path, destination: &Path, name: &str) -> anyhow::Result<()> {
    if !name.contains(',') {
        return Ok(());
    }
    let mounted = open_mounted(root, destination)?;
    for part in name.split(',') {
        sys::symlinkat(name, &mounted, part)?;
    }
    Ok(())
}
