//! The cgroup that a check runs in, so that it can neither eat the machine nor
//! leave a cgroup behind. Only root makes one; it then belongs to the check,
//! which can set limits of its own below it.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::Context;
use nix::unistd::{AccessFlags, access, geteuid};

/// As much memory as a check may use, in bytes.
const MEMORY: u64 = 1 << 30;

/// Directories of cgroups, which are removed with this value.
pub(crate) struct Cgroup {
    made: Vec<PathBuf>,
    /// Where a process gets in.
    entrances: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes a cgroup that belongs to the user `owner`. Only for root.
    pub(crate) fn create(owner: u32) -> anyhow::Result<Cgroup> {
        let mut cgroup = Cgroup {
            made: Vec::new(),
            entrances: Vec::new(),
        };
        let name = format!("lab.{}", std::process::id());
        for (version, own) in memberships()? {
            let make = || -> io::Result<Vec<PathBuf>> {
                match version {
                    1 => version_1(&own.join(&name), owner),
                    _ => version_2(&own, &name, owner),
                }
            };
            let made = make().with_context(|| {
                format!("making a cgroup for the check in {own:?}")
            })?;
            cgroup.entrances.extend(made.last().cloned());
            cgroup.made.extend(made);
        }
        Ok(cgroup)
    }

    /// Moves the process `pid` in.
    pub(crate) fn take(&self, pid: i32) -> anyhow::Result<()> {
        for entrance in &self.entrances {
            let procs = entrance.join("cgroup.procs");
            fs::write(&procs, pid.to_string())
                .with_context(|| format!("write({procs:?})"))?;
        }
        Ok(())
    }

    /// The cgroups that were made in here and not removed.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for directory in &self.made {
            for path in directories(directory) {
                let name = path.file_name().unwrap_or_default();
                let name = name.to_string_lossy().into_owned();
                if name.starts_with("container-in-six-steps.") {
                    found.push(name);
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            remove(directory);
        }
    }
}

/// Removes a cgroup in which no process is left, and those below it.
pub(crate) fn remove(directory: &Path) {
    for path in directories(directory) {
        remove(&path);
    }
    // The kernel needs a moment for processes that were killed.
    for _ in 0..200 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                sleep(Duration::from_millis(5));
            }
            _ => return,
        }
    }
    eprintln!("lab: {directory:?} is left behind");
}

fn directories(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}

fn version_1(path: &Path, owner: u32) -> io::Result<Vec<PathBuf>> {
    fs::create_dir(path)?;
    for name in ["", "tasks", "cgroup.procs"] {
        chown(path.join(name), Some(owner), Some(owner))?;
    }
    let memory = path.join("memory.limit_in_bytes");
    if memory.exists() {
        fs::write(memory, MEMORY.to_string())?;
    }
    Ok(vec![path.to_owned()])
}

/// Beside our own cgroup, unless that is the topmost: one that holds processes
/// hands out no controllers. See cgroups(7).
fn version_2(own: &Path, name: &str, owner: u32) -> io::Result<Vec<PathBuf>> {
    let parent = match own.join("cgroup.type").exists() {
        true => own.parent().unwrap_or(own),
        false => own,
    };
    let all = "+memory +cpu +pids";
    fs::write(parent.join("cgroup.subtree_control"), all)?;
    let path = parent.join(name);
    let leaf = path.join("outside");
    fs::create_dir(&path)?;
    fs::create_dir(&leaf)?;
    fs::write(path.join("memory.max"), MEMORY.to_string())?;
    fs::write(path.join("cgroup.subtree_control"), all)?;
    for directory in [&path, &leaf] {
        for name in ["", "cgroup.procs", "cgroup.subtree_control"] {
            chown(directory.join(name), Some(owner), Some(owner))?;
        }
    }
    Ok(vec![path, leaf])
}

/// Our own cgroup in each tree that has one of the three controllers, with the
/// version of the tree.
fn memberships() -> anyhow::Result<Vec<(u32, PathBuf)>> {
    let membership = fs::read_to_string("/proc/self/cgroup")?;
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let wanted = ["memory", "cpu", "pids"];
        let ours = names.split(',').any(|name| wanted.contains(&name));
        let version = if names.is_empty() { 2 } else { 1 };
        if version == 1 && !ours {
            continue;
        }
        let mount = mountinfo.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            let kind = after.next()?;
            let options = after.nth(1)?;
            let first = names.split(',').next()?;
            let here = match version {
                2 => kind == "cgroup2",
                _ => {
                    kind == "cgroup"
                        && options.split(',').any(|name| name == first)
                }
            };
            let mut fields = before.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            let below = Path::new(path).strip_prefix(root).ok()?;
            here.then(|| Path::new(point).join(below))
        });
        found.extend(mount.map(|mount| (version, mount)));
    }
    // On a hybrid machine the tree of version 2 has none of the three.
    if found.iter().any(|(version, _)| *version == 1) {
        found.retain(|(version, _)| *version == 1);
    }
    Ok(found)
}

/// The cgroups of containers beside our own and below it.
pub(crate) fn of_containers() -> BTreeSet<PathBuf> {
    let memberships = memberships().unwrap_or_default().into_iter();
    let places = memberships.flat_map(|(_, own)| {
        let parent = own.parent().map(Path::to_owned);
        [Some(own), parent].into_iter().flatten()
    });
    let all = places.flat_map(|place| directories(&place));
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("container-in-six-steps.")
    };
    all.filter(ours).collect()
}

/// Why whoever runs this can set no limits; `None` if that works.
pub(crate) fn why_not() -> Option<String> {
    if geteuid().is_root() {
        return None;
    }
    let writable = |directory: &Path| {
        let all = [directory, &directory.join("cgroup.procs")];
        all.iter()
            .all(|path| access(*path, AccessFlags::W_OK).is_ok())
    };
    let delegated = memberships().is_ok_and(|all| {
        all.iter().any(|(version, own)| {
            *version == 2
                && (writable(own) || own.parent().is_some_and(writable))
        })
    });
    (!delegated).then(|| {
        "you may set no limits here. With systemd, `systemd-run --user \
         --scope -p Delegate=yes -- cargo lab check` lets you; elsewhere, run \
         it with sudo, or in a virtual machine"
            .to_owned()
    })
}
