//! Where the straight programs make their cgroups: beside those of the steps.

use std::path::PathBuf;

use anyhow::Context;
use ground::cgroups::{self, Cgroup, Mount};

/// For each of `memory`, `cpu` and `pids` the directory of our cgroup that has
/// it; all the same on version 2; empty where there is none for us.
pub(crate) fn parents() -> anyhow::Result<[String; 3]> {
    let ours = cgroups::of_process("self").context("our cgroups")?;
    let mounts = cgroups::mounts().context("mounts of cgroups")?;
    let parents = ["memory", "cpu", "pids"].map(|name| {
        let parent = find(&ours, &mounts, name).unwrap_or_default();
        parent.to_string_lossy().into_owned()
    });
    // Two versions in one container would be a benchmark of its own.
    let usable = parents.iter().all(|parent| may_write(parent));
    Ok(if usable {
        parents
    } else {
        [const { String::new() }; 3]
    })
}

/// The layout in a word, for the head of the table.
pub(crate) fn layout(parents: &[String; 3]) -> &'static str {
    match parents {
        [memory, ..] if memory.is_empty() => "none for us",
        [memory, _, pids] if memory == pids => "version 2",
        _ => "version 1",
    }
}

fn find(
    ours: &[Cgroup],
    mounts: &[Mount],
    controller: &str,
) -> Option<PathBuf> {
    let own = cgroups::with(ours, controller)?;
    let beside = own.parent().filter(|parent| parent.version == 2);
    // Where the step puts it, too: on version 2 beside its own cgroup, not below
    // it.
    let place = beside.as_ref().unwrap_or(own);
    place.directories(mounts).next()
}

fn may_write(directory: &str) -> bool {
    use nix::unistd::{AccessFlags, access};
    access(directory, AccessFlags::W_OK).is_ok()
}
