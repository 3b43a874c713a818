//! What a container uses, and how it is paused: files of its cgroup.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use common::{
    host::{
        PROJECT,
        cgroups::{Layout, Version},
        files::{read_kernel_file, write_kernel_file},
    },
    sys,
};
use nix::errno::Errno;
use step06_full::freezer;

use crate::{
    Container,
    record::{self, STATE, State},
};

/// What a container uses at the moment; `None` where no controller counts it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// In bytes.
    pub memory: Option<u64>,
    /// In bytes.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// How long it has had a processor, all of them together.
    pub cpu: Option<Duration>,
}

impl Container {
    /// What it uses.
    ///
    /// # Errors
    /// It is not running.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let cgroups = self.cgroups()?;
        let first = |names: &[&str]| {
            let all = cgroups
                .iter()
                .flat_map(|dir| names.iter().map(move |name| dir.join(name)));
            all.filter_map(|path| number(&path)).next()
        };
        let memory = ["memory.current", "memory.usage_in_bytes"];
        let limit = ["memory.max", "memory.limit_in_bytes"];
        Ok(Usage {
            memory: first(&memory),
            memory_limit: first(&limit),
            processes: first(&["pids.current"]),
            cpu: cgroups
                .iter()
                .find_map(|dir| cpu_time(dir))
                .or_else(|| cgroups.first().map(|dir| of_processes(dir))),
        })
    }

    /// Stops all of its processes, until [`Container::unpause`].
    ///
    /// # Errors
    /// There is no cgroup of version 2 for it.
    pub fn pause(&self) -> anyhow::Result<()> {
        let mut state = self.state()?;
        let name = &self.config.name;
        ensure!(!self.is_frozen()?, "container {name} is already paused");
        let known = state.cgroups.iter().find(|it| can_freeze(it));
        let dir = match known {
            Some(dir) => dir.clone(),
            None => {
                let dir = self.make_freezer()?;
                state.cgroups.push(dir.clone());
                // First: whoever cleans up has to know of it.
                record::write(&self.running(), STATE, &state)?;
                move_all(&state.cgroups, &dir)?;
                dir
            }
        };
        freezer::freeze(&dir, Version::V2)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// It is not running.
    pub fn unpause(&self) -> anyhow::Result<()> {
        for dir in self.cgroups()? {
            if can_freeze(&dir) {
                freezer::thaw(&dir, Version::V2)?;
            }
        }
        Ok(())
    }

    pub(crate) fn is_frozen(&self) -> anyhow::Result<bool> {
        let state: Option<State> = record::read(&self.running(), STATE)?;
        let directories = state.map(|it| it.cgroups).unwrap_or_default();
        let mut directories = directories.iter();
        Ok(directories.any(|it| freezer::is_frozen(it, Version::V2)))
    }

    /// A cgroup of version 2 beside those of version 1, on a machine that has
    /// both: a process that version 1 has frozen can't be killed.
    fn make_freezer(&self) -> anyhow::Result<PathBuf> {
        let make = || {
            // Whatever is in none of the trees of version 1 is in that one.
            let tree = Layout::read()?.find("freezer, of version 2")?;
            if tree.version != Version::V2 {
                bail!("there is no tree of version 2");
            }
            let name = format!("{PROJECT}.{}", &self.config.id[..12]);
            let dir = tree.own.join(name);
            match sys::mkdir(&dir, 0o755) {
                Err(error) if error.errno == Errno::EEXIST => {}
                made => made?,
            }
            anyhow::Ok(dir)
        };
        make().context("pausing needs a cgroup of version 2")
    }
}

/// Only by version 2: who is stopped by it can still be killed.
fn can_freeze(dir: &Path) -> bool {
    freezer::is_there(dir, Version::V2)
}

/// Moves all processes of a container to `dir`. Those that are born meanwhile
/// are found in the next round: their parents are there by then.
fn move_all(from: &[PathBuf], dir: &Path) -> anyhow::Result<()> {
    let members = |dir: &Path| {
        let text = fs::read_to_string(dir.join("cgroup.procs"));
        let text = text.unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<String>>()
    };
    let others = from.iter().find(|it| *it != dir);
    let others = others.context("it is in no cgroup: it has no limits")?;
    loop {
        let there = members(dir);
        let all = members(others);
        let late: Vec<&String> =
            all.iter().filter(|it| !there.contains(it)).collect();
        if late.is_empty() {
            return Ok(());
        }
        for process in late {
            match write_kernel_file(dir.join("cgroup.procs"), process) {
                Err(error) if error.errno == Errno::ESRCH => {}
                moved => moved?,
            }
        }
    }
}

/// A file with a number in it.
fn number(path: &Path) -> Option<u64> {
    let text = read_kernel_file(path).ok()?;
    String::from_utf8(text).ok()?.trim().parse().ok()
}

fn cpu_time(dir: &Path) -> Option<Duration> {
    if let Some(nanoseconds) = number(&dir.join("cpuacct.usage")) {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let text = fs::read_to_string(dir.join("cpu.stat")).ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix("usage_usec "));
    line?.parse().ok().map(Duration::from_micros)
}

/// What those have had who are in it now: on version 1 `cpuacct` may be a tree
/// of its own, in which the container is not.
fn of_processes(dir: &Path) -> Duration {
    let procs = fs::read_to_string(dir.join("cgroup.procs"));
    let procs = procs.unwrap_or_default();
    let ticks = procs.lines().filter_map(|pid| {
        let text = read_kernel_file(format!("/proc/{pid}/stat")).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        // Fields 14 and 15, in hundredths. Field 2 may have spaces in it.
        let (_, after_name) = text.rsplit_once(") ")?;
        let fields = after_name.split(' ').skip(11).take(2);
        fields.map(|it| it.parse::<u64>().ok()).sum::<Option<u64>>()
    });
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
