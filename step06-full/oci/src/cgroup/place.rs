//! Where a cgroup is: a directory in each tree.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// Where the cgroup is: what `state.json` keeps.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Place {
    /// One in each tree; none at all where a plain user may make none, and
    /// nothing was to be limited.
    pub(super) parts: Vec<Part>,
}

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

impl Place {
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
