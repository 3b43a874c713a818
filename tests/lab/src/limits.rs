//! The cgroup that a check runs in, so that it can neither eat the machine nor
//! leave a cgroup behind. It belongs to the check, which can set limits of its
//! own below it. Root makes one always, a plain user where he may.

use std::{
    fs, io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use ground::{cgroups, processes::Stat};
use nix::unistd::{AccessFlags, access, geteuid};

/// As much memory as a check may use, in bytes.
const MEMORY: u64 = 1 << 30;

/// How long it may take until all processes of a check have ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Directories of cgroups, which are removed with this value.
pub struct Cgroup {
    made: Vec<PathBuf>,
    /// Where a process gets in.
    entrances: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes a cgroup that belongs to the user `owner`. Only for root.
    pub fn create(owner: u32) -> anyhow::Result<Cgroup> {
        let mut cgroup = Cgroup {
            made: Vec::new(),
            entrances: Vec::new(),
        };
        let name = new_name();
        for (version, own) in memberships()? {
            sweep(match version {
                1 => &own,
                _ => parent_of(&own),
            });
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

    /// As [`create`](Cgroup::create), for a plain user, in each tree in which a
    /// cgroup was delegated to him: who has the one that we are in can kill us.
    /// Empty if there is none.
    pub fn create_delegated() -> anyhow::Result<Cgroup> {
        let mut cgroup = Cgroup {
            made: Vec::new(),
            entrances: Vec::new(),
        };
        let name = new_name();
        let mounts = cgroups::mounts()?;
        for own in cgroups::of_process("self")? {
            let Some(directory) = own.directories(&mounts).next() else {
                continue;
            };
            // A new one of those takes nobody in, and ends nobody.
            if own.has("cpuset") {
                continue;
            }
            let is_top = mounts.iter().any(|it| it.mount_point == directory);
            let above = directory.parent().filter(|_| !is_top);
            let places = above.into_iter().chain([directory.as_path()]);
            let Some(parent) = places.into_iter().find(|it| writable(it))
            else {
                continue;
            };
            sweep(parent);
            let path = parent.join(&name);
            let made = match own.version {
                1 => delegated_1(&path),
                _ => delegated_2(parent, &path),
            };
            let made = made.with_context(|| {
                format!("making a cgroup for the check in {parent:?}")
            })?;
            cgroup.entrances.extend(made.last().cloned());
            cgroup.made.extend(made);
        }
        Ok(cgroup)
    }

    /// The topmost ones, with all that is in them.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let all = self.made.iter().map(PathBuf::as_path);
        let is_inner = |path: &Path| {
            let parent = path.parent();
            self.made.iter().any(|it| Some(it.as_path()) == parent)
        };
        all.filter(move |path| !is_inner(path))
    }

    /// Moves the process `pid` in.
    pub fn take(&self, pid: i32) -> anyhow::Result<()> {
        for entrance in &self.entrances {
            let procs = entrance.join("cgroup.procs");
            fs::write(&procs, pid.to_string())
                .with_context(|| format!("write({procs:?})"))?;
        }
        Ok(())
    }

    /// The cgroups that were made in here and not removed.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for directory in &self.made {
            for path in cgroups::children(directory) {
                let name = path.file_name().unwrap_or_default();
                let name = name.to_string_lossy().into_owned();
                if name.starts_with(cgroups::OF_CONTAINERS) {
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
        // All in there were killed, but on a busy machine hundreds of them take
        // their time to end.
        let begin = Instant::now();
        for directory in self.made.iter().rev() {
            let mut removed = cgroups::remove_all(directory);
            while is_busy(&removed) && begin.elapsed() < PATIENCE {
                removed = cgroups::remove_all(directory);
            }
            if let Err(error) = removed {
                eprintln!("lab: rmdir({directory:?}): {error}");
            }
        }
    }
}

fn is_busy(removed: &io::Result<()>) -> bool {
    let kind = removed.as_ref().err().map(io::Error::kind);
    kind == Some(io::ErrorKind::ResourceBusy)
}

/// How the names of all cgroups of checks begin; the number of the process that
/// has made one comes next.
const NAME: &str = "lab.";

fn new_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{NAME}{}.{count}", std::process::id())
}

/// Removes in `parent` what checks have left that were killed.
fn sweep(parent: &Path) {
    for directory in cgroups::children(parent) {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let numbers = name.strip_prefix(NAME).unwrap_or_default();
        let maker = numbers.split('.').next().unwrap_or_default();
        let Ok(maker) = maker.parse::<i32>() else {
            continue;
        };
        // With a process in it, its maker is in another PID namespace.
        if Stat::of(maker).is_none() && !has_processes(&directory) {
            // Somebody else may be faster.
            let _ = cgroups::remove_all(&directory);
        }
    }
}

fn has_processes(directory: &Path) -> bool {
    let own = fs::read_to_string(directory.join("cgroup.procs"));
    own.is_ok_and(|it| !it.is_empty())
        || cgroups::children(directory)
            .iter()
            .any(|it| has_processes(it))
}

/// Beside whose cgroup one of version 2 is made.
fn parent_of(own: &Path) -> &Path {
    match own.join("cgroup.type").exists() {
        true => own.parent().unwrap_or(own),
        false => own,
    }
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
    let parent = parent_of(own);
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

fn delegated_1(path: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir(path)?;
    Ok(vec![path.to_owned()])
}

/// What can't be enabled here, the step will miss, and say so.
fn delegated_2(parent: &Path, path: &Path) -> io::Result<Vec<PathBuf>> {
    let leaf = path.join("outside");
    fs::create_dir(path)?;
    fs::create_dir(&leaf)?;
    for directory in [parent, path] {
        for controller in ["+memory", "+cpu", "+pids"] {
            let file = directory.join("cgroup.subtree_control");
            let _ = fs::write(file, controller);
        }
    }
    let _ = fs::write(path.join("memory.max"), MEMORY.to_string());
    Ok(vec![path.to_owned(), leaf])
}

/// Whether cgroups can be made in this one, and processes moved to them.
fn writable(directory: &Path) -> bool {
    let all = [directory, &directory.join("cgroup.procs")];
    all.iter()
        .all(|path| access(*path, AccessFlags::W_OK).is_ok())
}

/// Our own cgroup in each tree that has one of the three controllers, with the
/// version of the tree.
pub fn memberships() -> anyhow::Result<Vec<(u32, PathBuf)>> {
    let mounts = cgroups::mounts()?;
    let mut found = Vec::new();
    for cgroup in cgroups::of_process("self")? {
        let ours = ["memory", "cpu", "pids"];
        if cgroup.version == 2 || ours.iter().any(|name| cgroup.has(name)) {
            let directory = cgroup.directories(&mounts).next();
            found.extend(directory.map(|it| (cgroup.version, it)));
        }
    }
    // On a hybrid machine the tree of version 2 has none of the three.
    if found.iter().any(|(version, _)| *version == 1) {
        found.retain(|(version, _)| *version == 1);
    }
    Ok(found)
}

/// Why whoever runs this can set no limits; `None` if that works.
pub fn why_not() -> Option<String> {
    if geteuid().is_root() {
        return None;
    }
    let delegated = memberships().is_ok_and(|all| {
        all.iter().any(|(version, own)| {
            *version == 2
                && (writable(own) || own.parent().is_some_and(writable))
        })
    });
    (!delegated).then(|| "you may set no limits here".to_owned())
}
