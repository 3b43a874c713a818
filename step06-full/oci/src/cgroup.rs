//! The container's cgroup, at the place that `linux.cgroupsPath` says.
//!
//! Step 4 chooses the place itself, knows three limits, and takes the cgroup away
//! when it ends. A runtime does none of that: the engine says where, the file
//! says what, and the cgroup is there as long as the container. What is the same
//! (making it, removing it, enabling controllers, getting in) is step 4's.

use std::{
    collections::BTreeMap,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use anyhow::Context;
use common::host::cgroups::Layout;
use nix::unistd::Pid;

use crate::{
    config::resources::Resources,
    systemd::{self, Held, Scope},
};

mod device_program;
mod devices;
mod inside;
mod limits;
mod lock;
mod ownership;
mod path;
mod place;
mod plan;
mod processes;
mod setting;
mod stats;
mod unit;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use limits::Limits;
use lock::Lock;
use path::Wanted;
pub(crate) use place::Place;
use plan::Plan;
use processes::Doors;
use unit::Unit;

/// A cgroup of the container's own, which it outlives: nothing is removed when
/// this is dropped.
pub(crate) struct Cgroup {
    place: Place,
    /// It was the container's, and is not any more.
    is_gone: bool,
    doors: Doors,
    /// As long as it has no process of the container, if it is systemd's.
    held: Option<Held>,
    /// For as long.
    lock: Option<Lock>,
}

impl Cgroup {
    /// Makes the cgroup and sets its limits. If that fails, nothing is left of
    /// it.
    ///
    /// Without a `cgroups_path` it is beside our own. `systemd` means that the
    /// path has the form `slice:prefix:name`. `planned` writes down where it will
    /// be: if we are killed, somebody can remove what we have made.
    pub(crate) fn create(
        cgroups_path: Option<&str>,
        id: &str,
        systemd: bool,
        resources: &Resources,
        planned: impl Fn(&Place) -> anyhow::Result<()>,
    ) -> anyhow::Result<Cgroup> {
        let text = cgroups_path.unwrap_or_default();
        let layout = Layout::read().context("finding the cgroups")?;
        let limits = Limits::of(resources, plan::is_unified(&layout))?;
        let needed = limits.needed();
        let unit = systemd.then(|| Unit::parse(text, id)).transpose()?;
        let mut scope = None;
        let (wanted, held) = match unit {
            None => (Wanted::parse(text, id)?, None),
            Some(unit) if !systemd::is_running() => {
                (Wanted::Below(unit.path()?), None)
            }
            Some(unit) => {
                let its = scope.insert(Scope::new(unit.name));
                planned(&Place::only_planned(its))?;
                let held = unit::start(its, &unit.slice, &layout, &limits)?;
                (Wanted::At(held.directory.join(unit::BELOW)), Some(held))
            }
        };
        let mut plan = Plan::of(&wanted, &layout, &needed)?;
        plan.place.scope.clone_from(&scope);
        planned(&plan.place)?;
        let mut place = plan.make()?;
        place.remember(scope);
        // If somebody else was faster, the directories are not ours to remove.
        let lock = Some(Lock::take(&place)?);
        place.expect_empty()?;
        place.claim(id);
        match limit(&limits, &place) {
            Ok(doors) => Ok(Cgroup {
                place,
                is_gone: false,
                doors,
                held,
                lock,
            }),
            Err(error) => {
                // The first error is the one to be told. A scope ends with what
                // holds it.
                let _ = processes::remove(&place);
                Err(error)
            }
        }
    }

    /// The container has a process now, which is in it.
    pub(crate) fn is_taken(&mut self) {
        self.held = None;
        self.lock = None;
    }

    /// That of a container. To get in, see [`Cgroup::for_exec`].
    pub(crate) fn of(place: &Place) -> anyhow::Result<Cgroup> {
        let is_gone = place.is_gone();
        let place = match is_gone {
            true => Place::default(),
            false => place.clone(),
        };
        Ok(Cgroup {
            place,
            is_gone,
            doors: Doors::default(),
            held: None,
            lock: None,
        })
    }

    /// For `state.json`.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// For [`common::NewProcess::cgroup`]: on v2.
    pub(crate) fn born_in(&self) -> Option<BorrowedFd<'_>> {
        self.doors.born_in()
    }

    /// Moves the calling thread into it, as far as it was not born there: the
    /// first act of a new process. From outside it would cost milliseconds: see
    /// `step04_cgroups::Cgroup::join`.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        Ok(self.doors.enter()?)
    }

    /// What a mount of type `cgroup` shows: nothing on v2 (it mounts a
    /// `cgroup2`), on v1 for each tree its name (`memory`, `cpu,cpuacct`) and
    /// the directory of this cgroup on the host.
    pub(crate) fn trees(&self) -> BTreeMap<String, PathBuf> {
        let parts = self.place.parts.iter().filter(|part| !part.is_v2);
        parts
            .map(|part| (part.tree.clone(), part.directory.clone()))
            .collect()
    }

    /// On the unified hierarchy, its directory.
    pub(crate) fn unified(&self) -> Option<&Path> {
        self.place.unified()
    }

    /// Stops all of its processes, and returns when they are stopped.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        processes::freeze(&self.place)
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        processes::thaw(&self.place)
    }

    /// Whether they are stopped.
    pub(crate) fn is_frozen(&self) -> bool {
        processes::is_frozen(&self.place)
    }

    /// All processes in it and in the cgroups below. No cgroup: none.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<Pid>> {
        processes::all(&self.place)
    }

    /// Sends `signal` to all of them, SIGKILL so that none escapes.
    pub(crate) fn kill_all(&self, signal: i32) -> anyhow::Result<()> {
        // To wait for it makes it safer, but is no condition: without a runtime
        // directory, who is to be killed may hold it himself.
        let _lock = Lock::of_those_there(&self.place).ok();
        // Another container may have been made there until now.
        match self.place.is_gone() {
            true => Ok(()),
            false => processes::kill_all(&self.place, signal),
        }
    }

    /// Removes it and those below. One that is gone is no error; with `EBUSY` or
    /// `EAGAIN` somebody else is in it, or about to be.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        let _lock = Lock::of_those_there(&self.place)?;
        if self.place.is_gone() {
            return Ok(());
        }
        processes::wait_until_empty(&self.place)?;
        processes::remove(&self.place)?;
        match &self.place.scope {
            Some(scope) if self.place.parts.is_empty() => scope.clear(),
            Some(scope) => scope.stop(),
            None => Ok(()),
        }
    }

    /// Changes its limits: those that are there. The devices stay as they are,
    /// as with runc: engines send those of the start along.
    pub(crate) fn update(&self, resources: &Resources) -> anyhow::Result<()> {
        stats::check_use(&self.place, &resources.memory)?;
        let is_v2 = self.place.unified().is_some();
        let limits = Limits::of(resources, is_v2)?;
        self.place.check(&limits.needed())?;
        limits.set(&self.place)?;
        match &self.place.scope {
            Some(scope) => scope.set(&limits.properties()),
            None => Ok(()),
        }
    }

    /// What `events --stats` prints as `data`.
    pub(crate) fn stats(&self) -> anyhow::Result<serde_json::Value> {
        Ok(stats::of(&self.place))
    }
}

/// What is done with a new cgroup before there is a process in it.
fn limit(limits: &Limits, place: &Place) -> anyhow::Result<Doors> {
    limits.set(place)?;
    limits.set_devices(place)?;
    Doors::open(place)
}
