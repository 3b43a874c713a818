//! A mount namespace for the benchmark itself, so that nothing of it stays.
//!
//! Container tools keep their state in `/run`, their locks in `/dev/shm`, and
//! mount where they please. Here all of that is in memory and in a namespace
//! that ends with us, also after SIGKILL. Only cgroups are in no namespace:
//! they are removed by name.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::Context;
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
    let mounts = cgroup_mounts()?;
    if mounts.iter().any(|it| it.version_1) {
        for mount in mounts.iter().filter(|it| !it.version_1) {
            umount2(&mount.path, MntFlags::MNT_DETACH)
                .with_context(|| format!("umount2({:?})", mount.path))?;
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
            if let Err(error) = remove(cgroup) {
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

/// Removes a cgroup; a process that was killed may need a moment to end.
fn remove(cgroup: &Path) -> io::Result<()> {
    for _ in 0..100 {
        match fs::remove_dir(cgroup) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
    fs::remove_dir(cgroup)
}

fn left_behind() -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for mount in cgroup_mounts()? {
        search(&mount.path, &mut found);
    }
    Ok(found)
}

fn search(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    // A cgroup may vanish while we look.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(MARK) || LEFT_BEHIND.contains(&&*name) {
                found.insert(entry.path());
            }
            search(&entry.path(), found);
        }
    }
}

struct CgroupMount {
    path: PathBuf,
    /// Whether it is of version 1, with a controller.
    version_1: bool,
}

fn cgroup_mounts() -> anyhow::Result<Vec<CgroupMount>> {
    let path = "/proc/self/mounts";
    let text = fs::read_to_string(path)
        .with_context(|| format!("open({path:?}, O_RDONLY)"))?;
    let mounts = text.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        let version_1 = match kind {
            "cgroup" => true,
            "cgroup2" => false,
            _ => return None,
        };
        Some(CgroupMount {
            path: path.into(),
            version_1,
        })
    });
    Ok(mounts.collect())
}
