//! `/sys/fs/cgroup`: the container's own cgroup, to be read.
//!
//! A program that sizes itself by the machine, such as a Java virtual machine,
//! would plan with memory that it never gets, and be killed. So it asks for the
//! limits of its cgroup, and where they are to be found is a convention. What
//! is shown here is the one directory of the container, not the tree that it
//! lies in, and nobody can write to it. See cgroups(7).

use std::path::Path;

use anyhow::Context;
use common::{host::cgroups::Version, sys};
use nix::{errno::Errno, mount::MsFlags};
use step04_cgroups::Cgroup;

use crate::mount_api::{self, bind};

/// Where programs look, as a path from the container's root.
const PLACE: &str = "sys/fs/cgroup";

/// Shows the container's `cgroup` at `/sys/fs/cgroup`, read-only. Where it has
/// none, since nothing could be limited, there is nothing to show.
///
/// `/sys` must be mounted below `root`, and `root` must not be the root yet:
/// the directories are the host's, and bound. See mount(2).
pub fn mount(root: &Path, cgroup: &Cgroup) -> anyhow::Result<()> {
    let Some((own, tree)) = cgroup.directories().next() else {
        return Ok(());
    };
    let mount = || {
        sys::chdir(root)?;
        if cgroup
            .directories()
            .all(|(_, tree)| tree.version == Version::V2)
        {
            // One tree for all controllers, so it is one directory.
            bind(own, PLACE)?;
            sys::chdir(PLACE)?;
        } else {
            let (no_flags, options) = (MsFlags::empty(), "mode=755");
            sys::mount("tmpfs", PLACE, "tmpfs", no_flags, options)?;
            sys::chdir(PLACE)?;
            show_trees(cgroup)?;
            for controller in ["cpuset", "cpuacct"] {
                hint_at(&tree.mount_point.with_file_name(controller))?;
            }
        }
        let mut attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
        attributes |= libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        mount_api::add_attributes_at(".", libc::AT_RECURSIVE, attributes)
    };
    mount().context("showing the container its cgroup")
}

/// A directory for each tree in which the container has a cgroup, as on a host
/// with version 1. A tree of several controllers is called `cpu,cpuacct`, and
/// for each of them there is a link.
fn show_trees(cgroup: &Cgroup) -> sys::Result<()> {
    for (own, tree) in cgroup.directories() {
        let name = tree.mount_point.file_name().unwrap_or_default();
        sys::mkdir(name, 0o755)?;
        bind(own, name)?;
        let name = name.to_string_lossy();
        for controller in name.split(',').filter(|it| *it != name) {
            sys::symlink(&*name, controller)?;
        }
    }
    Ok(())
}

/// Shows that there is a tree at `tree` on the host, if there is, by a file
/// that tells nothing else.
///
/// The container has no cgroup of its own in there, and all of it would be the
/// host's. But Java reads no limit at all unless it finds mounts for these
/// controllers, too: `determine_type` in cgroupSubsystem_linux.cpp of OpenJDK.
fn hint_at(tree: &Path) -> sys::Result<()> {
    let name = Path::new(tree.file_name().unwrap_or_default());
    match sys::mkdir(name, 0o755) {
        // The container does have one.
        Err(error) if error.errno == Errno::EEXIST => return Ok(()),
        made => made?,
    }
    let file = "cgroup.clone_children";
    let place = name.join(file);
    sys::mknod(&place, 0o444)?;
    match bind(tree.join(file), &place) {
        // This kernel has no such controller, or it is elsewhere.
        Err(error) if error.errno == Errno::ENOENT => Ok(()),
        bound => bound,
    }
}
