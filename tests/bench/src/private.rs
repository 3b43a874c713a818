//! A mount namespace for the benchmark itself, so that nothing of it stays.
//!
//! Container tools keep their state in `/run`, their locks in `/dev/shm`, and
//! mount where they please. Here all of that is in memory and in a namespace
//! that ends with us, also after SIGKILL. Only cgroups are in no namespace:
//! they are removed by name.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use ground::cgroups;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

use crate::subjects::MARK;

/// What tools call the cgroups that they leave behind empty, beside those that
/// bear our name.
const LEFT_BEHIND: [&str; 4] = [
    "conmon",     // podman, below our own
    "lxc.pivot",  // lxc-execute
    "payload",    // systemd-nspawn
    "supervisor", // systemd-nspawn
];

/// Goes into a mount namespace of our own. A plain user can't.
pub(crate) fn enter() -> anyhow::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none)
        .context(r#"mount(NULL, "/", MS_REC|MS_PRIVATE)"#)?;
    for target in ["/run", "/dev/shm"] {
        if Path::new(target).is_dir() {
            let tmpfs = Some("tmpfs");
            mount(tmpfs, target, tmpfs, MsFlags::empty(), none)
                .with_context(|| format!(r#"mount("tmpfs", {target:?})"#))?;
        }
    }
    // crun refuses to run where both versions of cgroups have controllers.
    // Nobody here needs version 2 where version 1 has those that matter.
    let mounts = cgroups::mounts()?;
    if mounts.iter().any(|it| it.version == 1) {
        for mount in mounts.iter().filter(|it| it.version == 2) {
            umount2(&mount.mount_point, MntFlags::MNT_DETACH)
                .with_context(|| format!("umount2({:?})", mount.mount_point))?;
        }
    }
    Ok(())
}

/// The cgroups with the names of what tools leave behind. Those that are new
/// at the end are removed when this is dropped.
pub(crate) struct Cgroups {
    before: BTreeSet<PathBuf>,
}

impl Cgroups {
    pub(crate) fn remember() -> anyhow::Result<Cgroups> {
        let before = left_behind()?;
        Ok(Cgroups { before })
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let now = left_behind().unwrap_or_default();
        // From the bottom up.
        for cgroup in now.iter().rev().filter(|it| !self.before.contains(*it)) {
            // A tool that hung was killed, but not what it had started.
            kill_all(cgroup);
            if let Err(error) = cgroups::remove(cgroup) {
                eprintln!("bench: rmdir({cgroup:?}): {error}");
            }
        }
    }
}

/// Kills the processes in a cgroup that bears our mark.
fn kill_all(cgroup: &Path) {
    let name = cgroup.file_name().unwrap_or_default().to_string_lossy();
    let processes = fs::read_to_string(cgroup.join("cgroup.procs"));
    if name.contains(MARK) {
        for pid in processes.iter().flat_map(|text| text.lines()) {
            if let Ok(pid) = pid.parse() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

fn left_behind() -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for mount in cgroups::mounts()? {
        search(&mount.mount_point, &mut found);
    }
    Ok(found)
}

fn search(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for path in cgroups::children(directory) {
        search(&path, found);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.contains(MARK) || LEFT_BEHIND.contains(&&*name) {
            found.insert(path);
        }
    }
}
