//! In which of the container's cgroups one more process begins.

use std::path::{Component, Path};

use anyhow::{Context, bail, ensure};
use common::host::{
    cgroups::{Layout, Version},
    files::read_kernel_file,
};
use nix::unistd::Pid;

use super::{
    Cgroup,
    place::{Part, Place},
    processes::{self, Doors},
};

impl Cgroup {
    /// The one for a further process, so that it can be born in it, or enter it.
    ///
    /// `wanted` is what `--cgroup` says: below the container's. Without it, it is
    /// the container's own, or that of its process `first`.
    ///
    /// # Errors
    /// The container's is gone: where the caller is, there are other limits, or
    /// none.
    pub(crate) fn for_exec(
        mut self,
        wanted: &[String],
        first: Pid,
    ) -> anyhow::Result<Cgroup> {
        ensure!(
            !self.is_gone,
            "the container's cgroup is gone, or another container's by now"
        );
        let is_paused = self.is_frozen();
        self.place = match wanted {
            [] => self.place.with_room(first)?,
            wanted => self.place.below(wanted)?,
        };
        ensure!(
            is_paused || !self.place.is_stopped(),
            "the container has stopped all that is in the cgroup of the new \
             process, which would wait there for ever\n\
             hint: choose another one by --cgroup, or kill the container"
        );
        self.doors = Doors::open(&self.place)?;
        Ok(self)
    }
}

impl Place {
    /// Whether processes here are stopped: by this cgroup, or by one above.
    fn is_stopped(&self) -> bool {
        let Some(directory) = self.unified() else {
            return processes::is_frozen(self);
        };
        let events = read_kernel_file(directory.join("cgroup.events"));
        let events = events.unwrap_or_default();
        events.split(|it| *it == b'\n').any(|it| it == b"frozen 1")
    }

    /// Places below this one, for trees that are named by their controllers, or
    /// for all: `cpu,memory:a/b`, `a/b`.
    fn below(&self, wanted: &[String]) -> anyhow::Result<Place> {
        let mut place = self.clone();
        for text in wanted {
            let aim = || format!("--cgroup {text}");
            let (names, path) = match text.split_once(':') {
                Some((names, path)) => (Some(names), path),
                None => (None, text.as_str()),
            };
            let path = downwards(path).with_context(aim)?;
            let go_down = |part: &mut Part, from: &Part| {
                part.directory = from.directory.join(path);
            };
            let Some(names) = names else {
                let parts = place.parts.iter_mut().zip(&self.parts);
                parts.for_each(|(part, from)| go_down(part, from));
                continue;
            };
            for name in names.split(',') {
                let mut parts = place.parts.iter_mut().zip(&self.parts);
                let has = |it: &String| it == name;
                let found =
                    parts.find(|(part, _)| part.controllers.iter().any(has));
                match found {
                    Some((part, from)) => go_down(part, from),
                    None => bail!("{}: no {name:?} controller", aim()),
                }
            }
        }
        Ok(place)
    }

    /// This place, or that of the process `first` if there can be no processes
    /// here: a container that may write to its cgroup, as one with systemd in it,
    /// hands controllers on to cgroups of its own. See cgroups(7), "no internal
    /// processes".
    fn with_room(&self, first: Pid) -> anyhow::Result<Place> {
        let Some(directory) = self.unified() else {
            return Ok(self.clone());
        };
        let file = directory.join("cgroup.subtree_control");
        let handed_on = read_kernel_file(file).unwrap_or_default();
        if handed_on.trim_ascii().is_empty() {
            return Ok(self.clone());
        }
        let layout = Layout::of(&first.to_string())?;
        let mut trees = layout.trees().into_iter().map(|(_, tree)| tree);
        let its = trees.find(|tree| tree.version == Version::V2);
        let own = its.context("there is no tree of version 2")?.own;
        ensure!(
            own.starts_with(directory),
            "the container's process is in {own:?}, and not below {directory:?}"
        );
        let mut place = self.clone();
        place
            .parts
            .iter_mut()
            .for_each(|it| it.directory.clone_from(&own));
        Ok(place)
    }
}

/// A path that leads nowhere but down. cgroup file systems have no links.
fn downwards(text: &str) -> anyhow::Result<&Path> {
    let path = Path::new(text.trim_start_matches('/'));
    for part in path.components() {
        ensure!(part != Component::ParentDir, "leads upwards");
    }
    Ok(path)
}
