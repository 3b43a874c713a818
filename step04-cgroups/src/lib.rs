//! Step 4: control groups.
//!
//! Namespaces limit what a process can *see*; a control group limits what it
//! can *use*, and it counts for all of its processes together, those that are
//! forked later included. A cgroup is a directory: mkdir(2) makes one, numbers
//! written into its files set the limits, rmdir(2) removes it. Three
//! *controllers* enforce what we need: `memory`, `cpu` and `pids`.
//!
//! There are two versions with different files. In version 2 all controllers
//! share one tree, and a child can be *born* in a cgroup. In version 1 there are
//! several trees, each with one controller or a few, so that "the" cgroup of a
//! container is two or three directories, and the child joins them as its first
//! act. Which of the two the machine has is the same for this step's `main`. See
//! cgroups(7).

#![forbid(unsafe_code)]

mod directory;
mod leftovers;
mod limits;
mod v1;
mod v2;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, anyhow};
use common::host::cgroups::{Hierarchy, Layout, Version};
use common::{errors, probe};
use directory::Directory;
use leftovers::Name;
use limits::Limit;
pub use limits::Limits;

/// The container's cgroup: a directory in each tree that enforces one of its
/// limits. It is removed when this value is dropped, by the process that
/// created it; the container must have ended by then.
///
/// If that process is killed first, the empty directories remain until the next
/// [`Cgroup::create`] in the same place sweeps them.
#[derive(Debug)]
pub struct Cgroup {
    directories: Vec<Directory>,
}

impl Cgroup {
    /// Makes the cgroup and sets its limits.
    ///
    /// Runs in the parent, before the container's process is created. A limit
    /// that was asked for and can't be set is an error. A default that can't be
    /// set is waived, with one warning for all of them.
    pub fn create(limits: &Limits) -> anyhow::Result<Cgroup> {
        let layout = Layout::read().context("finding the cgroups")?;
        let name = Name::of_this_process()?;
        let mut cgroup = Cgroup {
            directories: Vec::new(),
        };
        let mut waived = Vec::new();
        for (limit, asked_for) in limits.list() {
            match cgroup.enforce(limit, &layout, &name) {
                Ok(()) => {}
                Err(error) if asked_for => {
                    let aim = format!("limiting the {}", limit.what());
                    return Err(error.context(aim));
                }
                Err(error) => waived.push((limit.what(), error)),
            }
        }
        warn_of(&waived);
        Ok(cgroup)
    }

    /// Sets `limit` in the tree that has its controller.
    fn enforce(
        &mut self,
        limit: Limit,
        layout: &Layout,
        name: &Name,
    ) -> anyhow::Result<()> {
        let hierarchy = layout.find(limit.controller())?;
        let same_tree = |directory: &&Directory| {
            directory.hierarchy.mount_point == hierarchy.mount_point
        };
        if let Some(directory) = self.directories.iter().find(same_tree) {
            return directory.set(limit);
        }
        // If the limit can't be set, the directory goes with this function.
        let directory = Directory::create(hierarchy, name)?;
        directory.set(limit)?;
        self.directories.push(directory);
        Ok(())
    }

    /// The cgroup that the container's process is to be born in: the file
    /// descriptor for `CLONE_INTO_CGROUP`, or `None` on version 1, which has
    /// no such thing. See clone(2).
    pub fn born_in(&self) -> Option<BorrowedFd<'_>> {
        self.directories
            .iter()
            .find(|directory| directory.hierarchy.version == Version::V2)
            .map(|directory| directory.entrance.as_fd())
    }

    /// The directories of the cgroup on the host, and the tree of each.
    pub fn directories(&self) -> impl Iterator<Item = (&Path, &Hierarchy)> {
        self.directories
            .iter()
            .map(|directory| (directory.path.as_path(), &directory.hierarchy))
    }

    /// Moves the calling process into the cgroup, as far as it was not born
    /// there.
    ///
    /// The container's process must call this first, since only what it uses
    /// from now on is counted. It must have one thread: the others would stay
    /// outside.
    pub fn join(&self) -> anyhow::Result<()> {
        for directory in &self.directories {
            if directory.hierarchy.version == Version::V1 {
                v1::join(directory).context("joining the cgroup")?;
            }
        }
        Ok(())
    }
}

/// Says in one line which limits the container runs without, and why.
fn warn_of(waived: &[(&'static str, anyhow::Error)]) {
    if waived.is_empty() {
        return;
    }
    for (what, error) in waived {
        probe::waive(what, &in_words(error));
    }
    let reasons: Vec<String> =
        waived.iter().map(|(_, error)| reason(error)).collect();
    let all = waived.iter().map(|(what, _)| *what);
    let text = if reasons.iter().all(|other| *other == reasons[0]) {
        format!("{}: {}", all.collect::<Vec<_>>().join(", "), reasons[0])
    } else {
        let each: Vec<String> = all
            .zip(&reasons)
            .map(|(what, reason)| format!("{what}: {reason}"))
            .collect();
        each.join("; ")
    };
    errors::warning(&anyhow!("not limited: {text}"));
}

/// What the outermost context says, and the errno. The calls between the two
/// are about another directory for each limit.
fn reason(error: &anyhow::Error) -> String {
    match errors::errno(error) {
        Some(errno) => format!("{error}: {errno}"),
        None => error.to_string(),
    }
}

/// The reason for the scoreboard, which is the same in each run: a call, with
/// the name of this run's cgroup in it, is left out.
fn in_words(error: &anyhow::Error) -> String {
    match errors::errno(error) {
        Some(errno) if error.chain().count() == 2 => errno.to_string(),
        _ => error.to_string(),
    }
}
