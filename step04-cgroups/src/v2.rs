//! Version 2: one tree for all controllers, with rules about who may be where.
//!
//! A cgroup hands its controllers out to its children when they are written to
//! its `cgroup.subtree_control`. Only the root may do that while there are
//! processes in it: elsewhere, processes live in the leaves (the "no internal
//! processes" rule; the error is `EBUSY`). A part of the tree is *delegated* to
//! a user by making its directory, `cgroup.procs` and `cgroup.subtree_control`
//! writable for that user. See cgroups(7), "Cgroups v2".

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, bail, ensure};
use common::report;
use nix::unistd::{AccessFlags, access};

use crate::directory::{remove, write};
use crate::hierarchy::Hierarchy;
use crate::leftovers;
use crate::limits::{Limit, PERIOD};

/// Decides which cgroup becomes the parent of the container's.
///
/// Our own is no good, because we are in it. The container's goes beside our
/// own, where we may write there. Otherwise we make place: we move into a leaf
/// below our own cgroup, and the container's goes beside that.
pub(crate) fn place(
    hierarchy: &Hierarchy,
    name: &str,
) -> anyhow::Result<(PathBuf, Option<Leaf>)> {
    let own = &hierarchy.own;
    // Every cgroup but the root has this file.
    if !own.join("cgroup.type").exists() {
        return Ok((own.clone(), None));
    }
    if let Some(beside) = hierarchy.parent_of(own)
        && may_use(beside).is_ok()
    {
        return Ok((beside.to_owned(), None));
    }
    may_use(own).context("no delegated cgroup")?;
    let leaf = Leaf::enter(own, &format!("{name}{}", leftovers::LEAF))?;
    Ok((own.clone(), Some(leaf)))
}

/// Whether we may make cgroups below `cgroup` and put processes into them: for
/// this the kernel wants the common ancestor's `cgroup.procs` to be writable.
fn may_use(cgroup: &Path) -> anyhow::Result<()> {
    for path in [cgroup, &cgroup.join("cgroup.procs")] {
        access(path, AccessFlags::W_OK)
            .with_context(|| format!("access({path:?}, W_OK)"))?;
    }
    Ok(())
}

/// Opens the directory that the child will be born in.
pub(crate) fn open_entrance(path: &Path) -> anyhow::Result<File> {
    File::open(path)
        .with_context(|| format!("open({path:?}, O_RDONLY)"))
}

/// Writes `limit` into the files of the cgroup at `path`.
///
/// See the kernel's documentation, admin-guide/cgroup-v2.
pub(crate) fn set(
    hierarchy: &Hierarchy,
    path: &Path,
    limit: Limit,
) -> anyhow::Result<()> {
    let main_file = path.join(match limit {
        Limit::Memory { .. } => "memory.max",
        Limit::Cpu { .. } => "cpu.max",
        Limit::Pids { .. } => "pids.max",
    });
    // The files of a controller exist where the parent hands it out.
    if !main_file.exists() {
        let parent = path.parent().unwrap_or(path);
        hand_out(hierarchy, parent, limit.controller())?;
    }
    match limit {
        Limit::Memory { bytes } => {
            write(&main_file, &bytes.to_string())?;
            forbid_swap(path)
        }
        Limit::Cpu { quota } => write(&main_file, &format!("{quota} {PERIOD}")),
        Limit::Pids { max } => write(&main_file, &max.to_string()),
    }
}

/// Keeps the container's memory out of the swap space, where `memory.max` does
/// not count it: a memory hog would not be killed but swapped.
fn forbid_swap(path: &Path) -> anyhow::Result<()> {
    let swap_max = path.join("memory.swap.max");
    if swap_max.exists() {
        return write(&swap_max, "0");
    }
    // A kernel without the file does not count swap. That is no loss on
    // a machine without swap: then there is only the table's header.
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    ensure!(swaps.lines().count() <= 1, "this kernel can't limit swap");
    Ok(())
}

/// Makes `controller` available to the children of `cgroup`, from the top down:
/// a cgroup can hand out only what its parent hands out to it.
///
/// It stays that way afterwards: another run may rely on it by then.
fn hand_out(
    hierarchy: &Hierarchy,
    cgroup: &Path,
    controller: &str,
) -> anyhow::Result<()> {
    if !names(&cgroup.join("cgroup.controllers"))?.contains(controller) {
        let Some(parent) = hierarchy.parent_of(cgroup) else {
            bail!("no {controller} controller in {cgroup:?}");
        };
        hand_out(hierarchy, parent, controller)?;
    }
    let subtree_control = cgroup.join("cgroup.subtree_control");
    if names(&subtree_control)?.contains(controller) {
        return Ok(());
    }
    write(&subtree_control, &format!("+{controller}"))
        .with_context(|| format!("the {controller} controller is not delegated"))
}
