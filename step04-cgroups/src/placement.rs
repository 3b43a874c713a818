//! Where in the tree of version 2 a cgroup may be made: it has rules about who
//! may be where.
//!
//! A cgroup *enables* a controller for its children when `+memory` is written
//! to its `cgroup.subtree_control`. Only the topmost cgroup may do that while
//! there are processes in it: elsewhere, processes live in the leaves (the "no
//! internal processes" rule; the error is `EBUSY`). A part of the tree is
//! *delegated* to a user by making its directory, `cgroup.procs` and
//! `cgroup.subtree_control` writable for that user. See cgroups(7), "Cgroups
//! v2".

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, bail};
use common::host::cgroups::Hierarchy;
use common::host::files::{read_kernel_file, text, write_kernel_file};
use common::{errors, sys};
use nix::errno::Errno;
use nix::unistd::AccessFlags;

use crate::directory::remove;
use crate::leftovers::{LEAF, Name};

/// Finds the cgroup that becomes the parent of the container's.
///
/// Our own is no good, because we are in it. The container's goes beside our
/// own, where we may write there. Otherwise we leave our own, and go into a
/// leaf below it; the container's is made beside that.
pub(crate) fn find_parent(
    hierarchy: &Hierarchy,
    name: &Name,
) -> anyhow::Result<(PathBuf, Option<Leaf>)> {
    let own = &hierarchy.own;
    // Every cgroup but the topmost has this file.
    if !own.join("cgroup.type").exists() {
        return Ok((own.clone(), None));
    }
    if let Some(beside) = hierarchy.parent_of(own)
        && may_use(beside).is_ok()
    {
        return Ok((beside.to_owned(), None));
    }
    may_use(own).context("no delegated cgroup")?;
    let leaf = Leaf::enter(own, &format!("{}{LEAF}", name.full))?;
    Ok((own.clone(), Some(leaf)))
}

/// Whether we may make cgroups below `cgroup` and put processes into them: for
/// this the kernel wants the common ancestor's `cgroup.procs` to be writable.
fn may_use(cgroup: &Path) -> sys::Result<()> {
    sys::access(cgroup, AccessFlags::W_OK)?;
    sys::access(cgroup.join("cgroup.procs"), AccessFlags::W_OK)
}

/// Enables `controller` for the children of `cgroup`, from the top down: a
/// cgroup can enable only what its parent has enabled for it.
///
/// It stays that way afterwards: another run may rely on it by then.
///
/// # Errors
/// There is no such controller, it was not delegated to us, or processes are in
/// the way.
pub fn enable(
    controller: &str,
    hierarchy: &Hierarchy,
    cgroup: &Path,
) -> anyhow::Result<()> {
    let subtree_control = cgroup.join("cgroup.subtree_control");
    if lists(&subtree_control, controller)? {
        return Ok(());
    }
    if !lists(&cgroup.join("cgroup.controllers"), controller)? {
        let Some(parent) = hierarchy.parent_of(cgroup) else {
            bail!("no {controller} controller");
        };
        enable(controller, hierarchy, parent)?;
    }
    let enabled =
        write_kernel_file(&subtree_control, &format!("+{controller}"));
    enabled.map_err(|error| {
        let missing = match error.errno {
            // The "no internal processes" rule.
            Errno::EBUSY => format!("other processes are in {cgroup:?}"),
            _ => format!("the {controller} controller is not delegated"),
        };
        anyhow::Error::from(error).context(missing)
    })
}

/// Whether a file that holds names of controllers has this one.
fn lists(path: &Path, controller: &str) -> anyhow::Result<bool> {
    Ok(read(path)?
        .split_whitespace()
        .any(|name| name == controller))
}

fn read(path: &Path) -> anyhow::Result<String> {
    Ok(text(read_kernel_file(path)?))
}

/// A cgroup below our own that this process has moved into, so that our own has
/// no processes and may enable controllers. Dropping it moves us back.
#[derive(Debug)]
pub(crate) struct Leaf {
    own: PathBuf,
    path: PathBuf,
    /// What `own` had enabled before we came.
    enabled: String,
    /// As in [`Directory`](crate::directory::Directory).
    creator: u32,
}

impl Leaf {
    fn enter(own: &Path, name: &str) -> anyhow::Result<Leaf> {
        let path = own.join(name);
        let enabled = read(&own.join("cgroup.subtree_control"))?;
        sys::mkdir(&path, 0o755)?;
        if let Err(error) = write_kernel_file(path.join("cgroup.procs"), "0") {
            remove(&path);
            return Err(error.into());
        }
        Ok(Leaf {
            own: own.to_owned(),
            path,
            enabled,
            creator: process::id(),
        })
    }

    /// Takes the controllers back, since a cgroup that enables some takes no
    /// processes, and moves us into it again.
    fn leave(&self) -> anyhow::Result<()> {
        let subtree_control = self.own.join("cgroup.subtree_control");
        let enabled = read(&subtree_control)?;
        for controller in enabled.split_whitespace() {
            if !self.enabled.split_whitespace().any(|c| c == controller) {
                write_kernel_file(&subtree_control, &format!("-{controller}"))?;
            }
        }
        write_kernel_file(self.own.join("cgroup.procs"), "0")?;
        Ok(())
    }

    /// Whether there is another cgroup beside the leaf.
    fn has_siblings(&self) -> bool {
        let Ok(entries) = fs::read_dir(&self.own) else {
            return false;
        };
        entries.flatten().any(|entry| {
            entry.path() != self.path
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
        })
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // Another container that is beside us by now needs the controllers for
        // its limits: then we stay, and the next run sweeps the leaf.
        if process::id() != self.creator || self.has_siblings() {
            return;
        }
        match self.leave() {
            Ok(()) => remove(&self.path),
            Err(error) => {
                let aim = format!("leaving the leaf {:?}", self.path);
                errors::warning(&error.context(aim));
            }
        }
    }
}
