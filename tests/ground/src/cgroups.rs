//! Where cgroups are mounted, and which of them a process is in. See cgroups(7)
//! and proc(5).

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

/// How the names of the cgroups begin that the steps make.
pub const OF_CONTAINERS: &str = "container-in-six-steps.";

/// A tree of cgroups that is mounted.
#[derive(Debug)]
pub struct Mount {
    /// Where the topmost cgroup is that can be seen there.
    pub mount_point: PathBuf,
    /// 1 or 2.
    pub version: u32,
    /// Which cgroup that is, from the top of the tree.
    root: PathBuf,
    /// The options of the file system; on version 1 the controllers are among
    /// them.
    options: String,
}

impl Mount {
    /// Whether this is the tree of version 1 that has `controller`.
    pub fn has(&self, controller: &str) -> bool {
        self.version == 1 && self.options.split(',').any(|it| it == controller)
    }
}

/// The trees that are mounted here.
///
/// # Errors
/// `/proc` is not mounted.
pub fn mounts() -> io::Result<Vec<Mount>> {
    Ok(parse_mounts(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// A line is
/// `33 24 0:29 /job /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu`.
fn parse_mounts(mountinfo: &str) -> Vec<Mount> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let version = match after.next()? {
            "cgroup" => 1,
            "cgroup2" => 2,
            _ => return None,
        };
        let mut before = before.split(' ').skip(3);
        Some(Mount {
            root: before.next()?.into(),
            mount_point: before.next()?.into(),
            version,
            options: after.nth(1)?.to_owned(),
        })
    });
    mounts.collect()
}

/// A cgroup.
#[derive(Debug)]
pub struct Cgroup {
    /// 1 or 2.
    pub version: u32,
    /// From the top of its tree.
    pub path: PathBuf,
    /// Those of its tree, with commas; on version 2 there are none.
    controllers: String,
}

impl Cgroup {
    /// Whether its tree is of version 1 and has `controller`.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|it| it == controller)
    }

    /// Its directories: a tree may be mounted more than once, or not at all.
    pub fn directories(
        &self,
        mounts: &[Mount],
    ) -> impl Iterator<Item = PathBuf> {
        let first = self.controllers.split(',').next().unwrap_or_default();
        let of_its_tree = move |mount: &&Mount| {
            mount.version == self.version
                && (self.version == 2 || mount.has(first))
        };
        mounts.iter().filter(of_its_tree).filter_map(|mount| {
            let below = self.path.strip_prefix(&mount.root).ok()?;
            Some(mount.mount_point.join(below))
        })
    }

    /// The cgroup that it is in; the topmost one is in none.
    pub fn parent(&self) -> Option<Cgroup> {
        Some(Cgroup {
            version: self.version,
            path: self.path.parent()?.to_owned(),
            controllers: self.controllers.clone(),
        })
    }
}

/// The cgroups of a process, one in each tree: `process` is its number, or
/// `self`.
///
/// # Errors
/// There is no such process.
pub fn of_process(process: &str) -> io::Result<Vec<Cgroup>> {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    Ok(parse_cgroups(&text))
}

/// A line is `4:cpu,cpuacct:/a/b`, or `0::/a/b` for version 2.
fn parse_cgroups(membership: &str) -> Vec<Cgroup> {
    let cgroups = membership.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?.to_owned();
        Some(Cgroup {
            version: if controllers.is_empty() { 2 } else { 1 },
            path: fields.next()?.into(),
            controllers,
        })
    });
    cgroups.collect()
}

/// The one among the `cgroups` of a process that counts what `controller` is
/// about: of version 1 if that has it, else of version 2.
pub fn with<'a>(cgroups: &'a [Cgroup], controller: &str) -> Option<&'a Cgroup> {
    let version_1 = cgroups.iter().find(|it| it.has(controller));
    version_1.or_else(|| cgroups.iter().find(|it| it.version == 2))
}

/// The cgroups right below the one at `directory`; none if that has vanished.
pub fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories =
        entries.filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// How often it is tried to remove a cgroup, and the pause in between.
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// Removes a cgroup in which no process is left. The kernel needs a moment for
/// those that were killed.
///
/// # Errors
/// That of rmdir(2). `EBUSY`: there is a process in it, or a cgroup below.
pub fn remove(directory: &Path) -> io::Result<()> {
    for _ in 1..ATTEMPTS {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                sleep(PAUSE);
            }
            result => return result,
        }
    }
    fs::remove_dir(directory)
}

/// Removes a cgroup and all below it.
///
/// # Errors
/// As [`remove`].
pub fn remove_all(directory: &Path) -> io::Result<()> {
    for child in children(directory) {
        remove_all(&child)?;
    }
    remove(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(membership: &str, controller: &str) -> Option<PathBuf> {
        let mounts = parse_mounts(
            "\
30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 /job /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
32 24 0:28 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw
33 24 0:29 / /proc rw - proc proc rw
",
        );
        assert_eq!(mounts.len(), 3);
        let cgroups = parse_cgroups(membership);
        with(&cgroups, controller)?.directories(&mounts).next()
    }

    #[test]
    fn version_1_has_a_tree_for_each_controller() {
        let membership = "4:memory:/job/1\n1:cpu,cpuacct:/\n0::/x\n";
        for (controller, expected) in [
            ("memory", "/sys/fs/cgroup/memory/1"),
            ("cpu", "/sys/fs/cgroup/cpu,cpuacct"),
            ("pids", "/sys/fs/cgroup/unified/x"),
        ] {
            let found = directory(membership, controller);
            assert_eq!(found, Some(expected.into()), "{controller}");
        }
    }

    #[test]
    fn what_is_not_below_the_root_of_a_mount_cannot_be_seen() {
        assert_eq!(directory("4:memory:/another/1\n", "memory"), None);
    }

    #[test]
    fn the_topmost_cgroup_has_no_parent() {
        let cgroups = parse_cgroups("0::/a/b:c\n");
        let parent = cgroups[0].parent().expect("/a");
        assert_eq!(parent.path, Path::new("/a"));
        let top = parent.parent().expect("/");
        assert!(top.parent().is_none());
    }
}
