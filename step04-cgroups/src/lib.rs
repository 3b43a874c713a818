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

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use common::errors;
use common::host::cgroups::{Hierarchy, Layout, Version};
use nix::errno::Errno;

// What the kernel does, in reading order: which numbers, in which directory, in
// which of its files. And around that: where the tree lets us make the directory,
// what to say when it does not, and what a run that was killed has left.
mod limits;

mod directory;

mod v2;

mod v1;

mod placement;

mod waived;

mod leftovers;

use directory::Directory;
pub use directory::{make, remove, try_remove};
use leftovers::Name;
use limits::Limit;
pub use limits::Limits;
use placement::Leaf;
pub use placement::enable;

/// The container's cgroup: a directory in each tree that enforces one of its
/// limits. It is removed when this value is dropped, by the process that
/// created it; the container must have ended by then.
///
/// If that process is killed first, the empty directories remain until the next
/// [`Cgroup::create`] in the same place sweeps them.
#[derive(Debug)]
pub struct Cgroup {
    parts: Vec<Part>,
}

/// The cgroup in one of the trees.
#[derive(Debug)]
struct Part {
    hierarchy: Hierarchy,
    directory: Directory,
    /// What a process needs to get in, opened by the parent: the directory on
    /// version 2, its `tasks` file on version 1.
    entrance: OwnedFd,
    /// Where we went ourselves, if we were in the way. It is dropped after the
    /// directory: fields are dropped in this order.
    _leaf: Option<Leaf>,
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
        let mut cgroup = Cgroup { parts: Vec::new() };
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
        waived::warn_of(&waived);
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
        let tree = &hierarchy.mount_point;
        let mut parts = self.parts.iter();
        if let Some(part) = parts.find(|it| it.hierarchy.mount_point == *tree) {
            return part.set(limit);
        }
        // If the limit can't be set, the directory goes with this function.
        let part = Part::make(hierarchy, name)?;
        part.set(limit)?;
        self.parts.push(part);
        Ok(())
    }

    /// The cgroup that the container's process is to be born in: the file
    /// descriptor for `CLONE_INTO_CGROUP`, or `None` on version 1, which has
    /// no such thing. See clone(2).
    pub fn born_in(&self) -> Option<BorrowedFd<'_>> {
        self.parts
            .iter()
            .find(|part| part.hierarchy.version == Version::V2)
            .map(|part| part.entrance.as_fd())
    }

    /// Moves the calling process into the cgroup, as far as it was not born
    /// there.
    ///
    /// The container's process must call this first, since only what it uses
    /// from now on is counted. It must have one thread: the others would stay
    /// outside.
    pub fn join(&self) -> anyhow::Result<()> {
        for part in &self.parts {
            if part.hierarchy.version == Version::V1 {
                v1::join(&part.entrance).context("joining the cgroup")?;
            }
        }
        Ok(())
    }

    /// What a process needs to get in, for each tree: as it was opened by the
    /// parent, for whoever is to join later. An entrance of version 2 is the
    /// directory to be born in; of version 1, the file to write a `0` to.
    pub fn entrances(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.parts.iter().map(|part| part.entrance.as_fd())
    }

    /// Gives the cgroup to whoever gets these directories, and is to [`remove`]
    /// them: it stays when this process ends.
    ///
    /// Nobody takes it away from under a process in it. Once it is empty, and its
    /// creator is gone, the next [`Cgroup::create`] beside it may.
    pub fn hand_over(self) -> Vec<PathBuf> {
        let directories = self.parts.into_iter().map(|part| part.directory);
        directories.map(Directory::hand_over).collect()
    }

    /// The directories of the cgroup on the host, and the tree of each.
    pub fn directories(&self) -> impl Iterator<Item = (&Path, &Hierarchy)> {
        self.parts
            .iter()
            .map(|part| (part.directory.path.as_path(), &part.hierarchy))
    }
}

impl Part {
    /// Makes the directory, where `hierarchy` wants it, and sweeps dead ones
    /// beside it.
    fn make(hierarchy: Hierarchy, name: &Name) -> anyhow::Result<Part> {
        let (parent, leaf) = match hierarchy.version {
            Version::V2 => placement::find_parent(&hierarchy, name)?,
            Version::V1 => (hierarchy.own.clone(), None),
        };
        let directory = Directory::create(parent.join(&name.full));
        let directory =
            directory.map_err(|error| match errors::errno(&error) {
                Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                    error.context("no delegated cgroup")
                }
                _ => error,
            })?;
        name.sweep(&parent);
        let entrance = match hierarchy.version {
            Version::V2 => v2::open_entrance(&directory)?,
            Version::V1 => v1::open_entrance(&directory)?,
        };
        Ok(Part {
            hierarchy,
            directory,
            entrance,
            _leaf: leaf,
        })
    }

    /// Writes `limit` into the kernel's files for it.
    fn set(&self, limit: Limit) -> anyhow::Result<()> {
        match self.hierarchy.version {
            Version::V2 => {
                let path = &self.directory.path;
                let parent = path.parent().unwrap_or(path);
                let controller = limit.controller();
                enable(controller, &self.hierarchy, parent)?;
                v2::set(&self.directory, limit)
            }
            Version::V1 => v1::set(&self.directory, limit),
        }
    }
}
