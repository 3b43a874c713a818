//! Limits: is there a cgroup in which this user may set them?
//!
//! As step 4 does, this looks for a place and makes a directory there. What
//! step 4 changes after that, it only looks at: which controllers the place
//! hands out, or would if it was asked.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, anyhow, bail, ensure};
use nix::{
    errno::Errno,
    unistd::{AccessFlags, access, getppid},
};

use crate::host::cgroups::{Hierarchy, Layout, Version};

/// Whether a limit that `controller` enforces can be set.
pub(super) fn limit(controller: &str) -> anyhow::Result<()> {
    let hierarchy = Layout::read()?.find(controller)?;
    let place = place(&hierarchy)?;
    let directory = place.join(format!("doctor.{}", process::id()));
    fs::create_dir(&directory)
        .with_context(|| format!("mkdir({directory:?})"))
        .context("no delegated cgroup")?;
    let found = match hierarchy.version {
        Version::V1 => Ok(()),
        Version::V2 => has_controller(&hierarchy, &directory, controller)
            .and_then(|()| counts_swap(&directory)),
    };
    fs::remove_dir(&directory)
        .with_context(|| format!("rmdir({directory:?})"))?;
    found
}

/// Where a cgroup for a container can be made: on version 2 not below one with
/// processes in it, so beside our own, if we may.
fn place(hierarchy: &Hierarchy) -> anyhow::Result<PathBuf> {
    let own = &hierarchy.own;
    if hierarchy.version == Version::V1 || !own.join("cgroup.type").exists() {
        return Ok(own.clone());
    }
    if let Some(beside) = hierarchy.parent_of(own)
        && may_use(beside).is_ok()
    {
        return Ok(beside.to_owned());
    }
    may_use(own).context("no delegated cgroup")?;
    // Step 4 moves out of the way, but only itself. The doctor is two: this
    // process and its parent.
    let procs = own.join("cgroup.procs");
    let ours = [process::id().to_string(), getppid().to_string()];
    if read(&procs)?.lines().any(|pid| !ours.contains(&pid.into())) {
        return Err(Errno::EBUSY)
            .with_context(|| format!("other processes are in {own:?}"));
    }
    Ok(own.clone())
}

/// Whether the cgroup `directory` has the files of `controller`, or will once
/// those above it hand it out.
fn has_controller(
    hierarchy: &Hierarchy,
    directory: &Path,
    controller: &str,
) -> anyhow::Result<()> {
    let Some(parent) = hierarchy.parent_of(directory) else {
        bail!("no {controller} controller");
    };
    let lists = |file: &str| {
        let names = read(&parent.join(file))?;
        anyhow::Ok(names.split_whitespace().any(|name| name == controller))
    };
    if lists("cgroup.subtree_control")? {
        return Ok(());
    }
    if !lists("cgroup.controllers")? {
        has_controller(hierarchy, parent, controller)?;
    }
    writable(&parent.join("cgroup.subtree_control")).with_context(|| {
        format!("the {controller} controller is not delegated")
    })
}

/// The versions of the trees that have our three controllers, in a few words.
pub(super) fn layout() -> String {
    let version = |controller| {
        let layout = Layout::read().map_err(|_| anyhow!("no /proc"))?;
        anyhow::Ok(match layout.find(controller)?.version {
            Version::V1 => 1,
            Version::V2 => 2,
        })
    };
    let versions = ["memory", "cpu", "pids"].map(version);
    match versions {
        [Ok(1), Ok(1), Ok(1)] => "cgroup version 1".into(),
        [Ok(2), Ok(2), Ok(2)] => "cgroup version 2".into(),
        [Err(_), Err(_), Err(_)] => "no cgroups in sight".into(),
        _ => "cgroup versions 1 and 2".into(),
    }
}

/// Whether a cgroup that limits memory limits swap with it, where there is any.
fn counts_swap(directory: &Path) -> anyhow::Result<()> {
    let limits_memory = directory.join("memory.max").exists();
    if limits_memory && !directory.join("memory.swap.max").exists() {
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        // The first line is a header.
        ensure!(swaps.lines().count() <= 1, "this kernel can't limit swap");
    }
    Ok(())
}

/// Whether cgroups can be made in this one and take processes.
fn may_use(cgroup: &Path) -> anyhow::Result<()> {
    writable(cgroup)?;
    writable(&cgroup.join("cgroup.procs"))
}

fn writable(path: &Path) -> anyhow::Result<()> {
    access(path, AccessFlags::W_OK)
        .with_context(|| format!("access({path:?}, W_OK)"))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path)
        .with_context(|| format!("open({path:?}, O_RDONLY)"))
}
