//! A cgroup that systemd makes.
//!
//! On most machines the tree of cgroups is systemd's: it moves processes, and
//! writes limits, as it finds right. Others may have a part of the tree, if they
//! ask for it: as a *scope*, a unit that holds processes which somebody else has
//! started, with `Delegate=yes`, which means that what is below is ours. One asks
//! by a call over D-Bus. The scope is there as long as there are processes in it.
//! See systemd.scope(5), org.freedesktop.systemd1(5), and "Control Group APIs and
//! Delegation" at <https://systemd.io/CGROUP_DELEGATION>.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use common::{
    NewProcess,
    host::{
        cgroups::{Layout, Version},
        files::write_kernel_file,
        machine::in_initial_user_namespace,
    },
    process::{Child, EndsWith},
    sys,
};
use nix::unistd::{geteuid, pause};
use serde::{Deserialize, Serialize};

mod manager;

mod bus;

mod address;

mod stream;

mod peer;

mod message;

mod wire;

mod skip;

#[cfg(test)]
mod tests;

use manager::Manager;

/// Where systemd says that it is running: see sd_booted(3).
const RUNS: &str = "/run/systemd/system";

/// Whether it is the first process of this machine.
pub(crate) fn is_running() -> bool {
    Path::new(RUNS).exists()
}

/// A scope, and the systemd that has it: what `state.json` keeps.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Scope {
    unit: String,
    bus: bus::Kind,
}

/// A scope with a process of ours in it, without which it would end at once. If
/// we are killed, so is that process, and nothing is left.
pub(crate) struct Held {
    unit: String,
    /// The cgroup of the scope. Processes are to be below it, where limits are
    /// ours: systemd would put its own back in the scope's.
    pub(crate) directory: PathBuf,
    process: Option<Child>,
}

/// The cgroup for the process that holds a scope. A cgroup can't have both
/// processes and children with limits. See cgroups(7), "no internal processes".
const HOLDER: &str = "holder";

impl Held {
    /// Has systemd make the scope `unit` in `slice`, with some numbers that it
    /// knows by name.
    ///
    /// # Errors
    /// There is no systemd, or none that we may ask; the unit is there already.
    pub(crate) fn start(
        scope: &Scope,
        slice: &str,
        numbers: &[(&str, u64)],
    ) -> anyhow::Result<Held> {
        let unit = &scope.unit;
        let start = || {
            let mut manager = Manager::connect(scope.bus)?;
            let process = wait_for_end()?;
            manager.start(unit, slice, process.pid(), numbers)?;
            let mut held = Held {
                unit: unit.clone(),
                directory: PathBuf::new(),
                process: Some(process),
            };
            held.settle()?;
            anyhow::Ok(held)
        };
        start().with_context(|| {
            format!(
                "having systemd make the scope {unit:?} for --systemd-cgroup \
                 (an engine can do without: podman --cgroup-manager cgroupfs)"
            )
        })
    }

    /// Finds the scope's cgroup, and moves the process out of the way.
    fn settle(&mut self) -> anyhow::Result<()> {
        let process = self.process.as_ref().map(Child::pid);
        let pid = process.context("the scope is empty")?.to_string();
        let layout = Layout::of(&pid)?;
        let mut trees = layout.trees().into_iter().map(|(_, tree)| tree);
        let tree = trees.find(|tree| tree.version == Version::V2);
        let own = tree.context("there is no tree of version 2")?.own;
        ensure!(
            own.ends_with(&self.unit),
            "the process is in {own:?}, and not in the scope"
        );
        let holder = own.join(HOLDER);
        sys::mkdir(&holder, 0o755)?;
        write_kernel_file(holder.join("cgroup.procs"), &pid)?;
        self.directory = own;
        Ok(())
    }
}

impl Drop for Held {
    /// Lets go: by now the scope has a process of the container.
    fn drop(&mut self) {
        // It is killed, and waited for.
        drop(self.process.take());
        if !self.directory.as_os_str().is_empty() {
            step04_cgroups::remove(&self.directory.join(HOLDER));
        }
    }
}

impl Scope {
    /// One that is to be made.
    pub(crate) fn new(unit: String) -> Scope {
        Scope { unit, bus: kind() }
    }

    /// Adds to `error` what is behind it if it is that a process may not be born
    /// in the scope. It may be in the words of a process that is gone.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let text = format!("{error:#}");
        let is_refused =
            text.contains("CLONE_INTO_CGROUP") && text.contains("EACCES");
        match self.bus {
            // Who moves a process must be allowed to write to what is above
            // both cgroups. See cgroups(7), "Cgroup delegation".
            bus::Kind::User if is_refused => error.context(
                "the session of a login is not below the user's own systemd, \
                 and nobody but root moves a process from one to the other; \
                 start it below: systemd-run --user --scope step06-oci ...",
            ),
            _ => error,
        }
    }

    /// Changes numbers of it, until it ends.
    pub(crate) fn set(&self, numbers: &[(&str, u64)]) -> anyhow::Result<()> {
        let set = || Manager::connect(self.bus)?.set(&self.unit, numbers);
        set().with_context(|| format!("telling systemd of {:?}", self.unit))
    }

    /// Ends the scope if it has no processes, which may be those of somebody else
    /// who has the name: it was only planned to be ours.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        let clear = || Manager::connect(self.bus)?.clear(&self.unit);
        clear().with_context(|| format!("asking systemd of {:?}", self.unit))
    }

    /// Ends the scope. One that is gone is no error: it ends by itself with its
    /// last process.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        let stop = || {
            let mut manager = Manager::connect(self.bus)?;
            manager.stop(&self.unit)?;
            // Or the name would be taken by a unit that has failed.
            manager.reset(&self.unit)
        };
        stop().with_context(|| {
            format!("having systemd end the scope {:?}", self.unit)
        })
    }
}

/// A process that does nothing, and ends when it is dropped, or we end.
fn wait_for_end() -> anyhow::Result<Child> {
    let process = NewProcess {
        ends_with: EndsWith::Nobody,
        ..NewProcess::default()
    };
    // Its gate is never opened.
    process.spawn(|| {
        loop {
            pause();
        }
    })
}

/// The root of the machine asks the first systemd; a plain user, who may be root
/// in a user namespace, that of the user.
fn kind() -> bus::Kind {
    match geteuid().is_root() && in_initial_user_namespace() {
        true => bus::Kind::System,
        false => bus::Kind::User,
    }
}

/// The slice that a scope is in, if nobody says which. runc has the same.
pub(crate) fn usual_slice() -> &'static str {
    match kind() {
        bus::Kind::System => "system.slice",
        bus::Kind::User => "user.slice",
    }
}
