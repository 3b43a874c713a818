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
use common::errors;
use common::host::cgroups::Hierarchy;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::directory::{remove, write};
use crate::leftovers::{LEAF, Name};
use crate::limits::{Limit, PERIOD};

/// Decides which cgroup becomes the parent of the container's.
///
/// Our own is no good, because we are in it. The container's goes beside our
/// own, where we may write there. Otherwise we make place: we move into a leaf
/// below our own cgroup, and the container's goes beside that.
pub(crate) fn place(
    hierarchy: &Hierarchy,
    name: &Name,
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
    let leaf = Leaf::enter(own, &format!("{}{LEAF}", name.full))?;
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
    File::open(path).with_context(|| format!("open({path:?}, O_RDONLY)"))
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
    let subtree_control = cgroup.join("cgroup.subtree_control");
    if lists(&subtree_control, controller)? {
        return Ok(());
    }
    if !lists(&cgroup.join("cgroup.controllers"), controller)? {
        let Some(parent) = hierarchy.parent_of(cgroup) else {
            bail!("no {controller} controller");
        };
        hand_out(hierarchy, parent, controller)?;
    }
    let enabled = write(&subtree_control, &format!("+{controller}"));
    enabled.map_err(|error| {
        let missing = match errors::errno(&error) {
            // The "no internal processes" rule.
            Some(Errno::EBUSY) => format!("other processes are in {cgroup:?}"),
            _ => format!("the {controller} controller is not delegated"),
        };
        error.context(missing)
    })
}

/// Whether a file that holds names of controllers has this one.
fn lists(path: &Path, controller: &str) -> anyhow::Result<bool> {
    Ok(read(path)?
        .split_whitespace()
        .any(|name| name == controller))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path)
        .with_context(|| format!("open({path:?}, O_RDONLY)"))
}

/// A cgroup below our own that this process has moved into, so that our own has
/// no processes and may hand out controllers. Dropping it moves us back.
#[derive(Debug)]
pub(crate) struct Leaf {
    own: PathBuf,
    path: PathBuf,
    /// What `own` handed out before we came.
    handed_out: String,
    /// As in [`Directory`](crate::directory::Directory).
    creator: u32,
}

impl Leaf {
    fn enter(own: &Path, name: &str) -> anyhow::Result<Leaf> {
        let path = own.join(name);
        let handed_out = read(&own.join("cgroup.subtree_control"))?;
        fs::create_dir(&path).with_context(|| format!("mkdir({path:?})"))?;
        if let Err(error) = write(&path.join("cgroup.procs"), "0") {
            remove(&path);
            return Err(error);
        }
        Ok(Leaf {
            own: own.to_owned(),
            path,
            handed_out,
            creator: process::id(),
        })
    }

    /// Takes the controllers back, since a cgroup that hands them out takes no
    /// processes, and moves us into it again.
    fn leave(&self) -> anyhow::Result<()> {
        let subtree_control = self.own.join("cgroup.subtree_control");
        let handed_out = read(&subtree_control)?;
        for controller in handed_out.split_whitespace() {
            if !self.handed_out.split_whitespace().any(|c| c == controller) {
                write(&subtree_control, &format!("-{controller}"))?;
            }
        }
        write(&self.own.join("cgroup.procs"), "0")
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
