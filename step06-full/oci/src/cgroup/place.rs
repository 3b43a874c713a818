//! Where a cgroup is: a directory in each tree.

use std::{
    ffi::CStr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use common::{
    host::cgroups::Version,
    sys::{self, xattr},
};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::processes;
use crate::{log, systemd::Scope};

/// Where the cgroup is: what `state.json` keeps.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Place {
    /// One in each tree; none at all where a plain user may make none, and
    /// nothing was to be limited.
    pub(super) parts: Vec<Part>,
    /// The unit that it is in, if it is systemd's.
    pub(super) scope: Option<Scope>,
    /// Which directory it is, if it is systemd's: that of another container,
    /// whose unit has got the name meanwhile, is another one. 0: not known.
    pub(super) inode: u64,
    /// What [`OWNER`] of its first directory is, as long as it is ours. Empty: not
    /// known.
    pub(super) owner: String,
}

/// The last container that was made in a cgroup, written on its directory. Who
/// has `CAP_SYS_ADMIN` in the first user namespace, and nobody else, sees it and
/// can take it away: root of the host, but also of a container that may do
/// everything. See xattr(7).
const OWNER: &CStr = c"trusted.step06-oci";

/// The cgroup in one of the trees.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Part {
    /// What the tree is called where it is mounted: `memory`, `cpu,cpuacct`.
    pub(super) tree: String,
    /// The controllers that work in it.
    pub(super) controllers: Vec<String>,
    /// Whether it has the files of version 2.
    pub(super) is_v2: bool,
    /// On the host.
    pub(super) directory: PathBuf,
}

impl Part {
    pub(super) fn version(&self) -> Version {
        match self.is_v2 {
            true => Version::V2,
            false => Version::V1,
        }
    }
}

impl Place {
    /// What is known before systemd has been asked.
    pub(super) fn only_planned(scope: &Scope) -> Place {
        Place {
            scope: Some(scope.clone()),
            ..Place::default()
        }
    }

    /// Remembers which directory it is, and whose.
    pub(super) fn remember(&mut self, scope: Option<Scope>) {
        self.scope = scope;
        self.inode = self.inode_there().unwrap_or(0);
    }

    /// Writes down that it belongs to a new container from now on. To be called
    /// under its lock. A plain user can't, and meets only containers of his own.
    pub(super) fn claim(&mut self, id: &str) {
        let owner = format!("{id} {}", log::now());
        let claim = |directory: &Path| {
            xattr::set(open(directory)?, OWNER, owner.as_bytes())
        };
        let first = self.parts.first().map(|part| claim(&part.directory));
        if first.is_some_and(|claimed| claimed.is_ok()) {
            self.owner = owner;
        }
    }

    /// Whether it is not the container's any more: systemd has taken it away, as
    /// it does when the last process has ended; or it was empty, and another
    /// container was made in it. In doubt it still is: without the mark, a directory
    /// that is there is ours.
    pub(super) fn is_gone(&self) -> bool {
        let is_removed = self.scope.is_some()
            && self.inode != 0
            && self.inode_there() != Some(self.inode);
        is_removed || !self.owner.is_empty() && self.is_anothers() == Some(true)
    }

    /// Whether it has the mark of another container, where there is one.
    fn is_anothers(&self) -> Option<bool> {
        let directory = open(&self.parts.first()?.directory).ok()?;
        xattr::is_another(directory, OWNER, self.owner.as_bytes()).ok()
    }

    /// Adds to `error` why there is no process in it, if that is known.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match &self.scope {
            Some(scope) => scope.explain(error),
            None => error,
        }
    }

    fn inode_there(&self) -> Option<u64> {
        let file = sys::stat(self.unified()?).ok()?;
        Some(file.st_ino)
    }

    /// Whether all of these controllers work in it.
    pub(super) fn check(&self, needed: &[&str]) -> anyhow::Result<()> {
        for controller in needed {
            ensure!(
                self.of(controller).is_some(),
                "the container's cgroup has no {controller} controller"
            );
        }
        Ok(())
    }

    /// Looks for processes in it, which would be somebody else's.
    pub(super) fn expect_empty(&self) -> anyhow::Result<()> {
        let mut parts = self.parts.iter();
        parts.try_for_each(|part| processes::expect_none(&part.directory))
    }

    /// The part that has this controller.
    pub(super) fn of(&self, controller: &str) -> Option<&Part> {
        let has =
            |part: &&Part| part.controllers.iter().any(|it| it == controller);
        self.parts.iter().find(has)
    }

    /// Its directory, if it has only one, of version 2.
    pub(super) fn unified(&self) -> Option<&Path> {
        match &self.parts[..] {
            [part] if part.is_v2 => Some(&part.directory),
            _ => None,
        }
    }
}

fn open(directory: &Path) -> sys::Result<OwnedFd> {
    sys::open(directory, OFlag::O_DIRECTORY, 0)
}
