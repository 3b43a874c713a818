//! Finds the tree of cgroups that has a controller, and our place in it.
//!
//! Version 2 is one tree for all controllers. Version 1 is several: each is
//! mounted on its own and has one controller or a few. A machine may have both
//! (hybrid), but a controller is in one tree only. Where the trees are mounted
//! is the distribution's choice, so nothing here assumes `/sys/fs/cgroup`.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::{
    files::{read_kernel_file, text},
    mountinfo::{Mount, unescape},
};

/// A tree of cgroups, as far as it is mounted where we can see it.
#[derive(Debug, PartialEq)]
pub struct Hierarchy {
    /// Which files its cgroups have.
    pub version: Version,
    /// The directory of the topmost cgroup that we can see.
    pub mount_point: PathBuf,
    /// The directory of the cgroup that this process is in.
    pub own: PathBuf,
}

impl Hierarchy {
    /// The directory of the cgroup above `cgroup`, unless that is the topmost.
    pub fn parent_of<'a>(&self, cgroup: &'a Path) -> Option<&'a Path> {
        if cgroup == self.mount_point {
            None
        } else {
            cgroup.parent()
        }
    }
}

/// The version of a tree of cgroups. See cgroups(7).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Version {
    /// A tree for each controller.
    V1,
    /// One tree for all controllers.
    V2,
}

/// The two files of the kernel that tell about cgroups.
pub struct Layout {
    /// `/proc/PID/cgroup`: which cgroup of each tree a process is in, we mostly.
    membership: String,
    /// `/proc/self/mountinfo`: where each tree is mounted. Only the lines of
    /// cgroups: it is gone through for each limit, and machines have hundreds.
    mountinfo: String,
}

impl Layout {
    /// Reads both files. See cgroups(7) and proc(5).
    pub fn read() -> anyhow::Result<Layout> {
        Layout::of("self")
    }

    /// The same for another process: its own cgroups, where we see them.
    pub fn of(process: &str) -> anyhow::Result<Layout> {
        let read = |path: &str| {
            // A mount point need not be UTF-8; those of cgroups are.
            anyhow::Ok(text(read_kernel_file(path)?))
        };
        let mounts = read("/proc/self/mountinfo")?;
        let lines = mounts.split_inclusive('\n');
        let of_cgroups = lines.filter(|line| line.contains(" - cgroup"));
        Ok(Layout {
            membership: read(&format!("/proc/{process}/cgroup"))?,
            mountinfo: of_cgroups.collect(),
        })
    }

    /// The hierarchy that has `controller`: the one of version 1 that names it,
    /// else that of version 2, which may turn out not to offer it.
    pub fn find(&self, controller: &str) -> anyhow::Result<Hierarchy> {
        let (version, path) = self
            .membership_of(controller)
            .ok_or_else(|| anyhow!("no {controller} controller"))?;
        self.visible(version, controller, path).ok_or_else(|| {
            anyhow!(
                "the cgroup {path} with the {controller} controller is not \
                 below any mount that is visible here"
            )
        })
    }

    /// All hierarchies that we can see, each with its controllers. That of
    /// version 2 has none here: it has whatever no other one has.
    pub fn trees(&self) -> Vec<(Vec<&str>, Hierarchy)> {
        let trees = self.memberships().filter_map(|(controllers, path)| {
            let names: Vec<&str> = match controllers {
                "" => Vec::new(),
                names => names.split(',').collect(),
            };
            let tree = match names.first() {
                Some(first) => self.visible(Version::V1, first, path),
                None => self.visible(Version::V2, "", path),
            };
            Some((names, tree?))
        });
        trees.collect()
    }

    /// The hierarchy, as far as it is mounted where we can see our cgroup
    /// `path` in it. One of version 1 is known by a controller.
    fn visible(
        &self,
        version: Version,
        controller: &str,
        path: &str,
    ) -> Option<Hierarchy> {
        self.mountinfo
            .lines()
            .filter_map(Mount::parse)
            .filter(|mount| match version {
                Version::V1 => mount.has_v1(controller),
                Version::V2 => mount.file_system == "cgroup2",
            })
            .find_map(|mount| {
                let own = mount.directory_of(path)?;
                let mount_point = unescape(mount.mount_point);
                Some(Hierarchy {
                    version,
                    mount_point,
                    own,
                })
            })
    }

    /// Our cgroup in the hierarchy that has `controller`, as a path from that
    /// hierarchy's root.
    fn membership_of(&self, controller: &str) -> Option<(Version, &str)> {
        let mut v2 = None;
        for (controllers, path) in self.memberships() {
            if controllers.split(',').any(|name| name == controller) {
                return Some((Version::V1, path));
            }
            if controllers.is_empty() {
                v2 = Some((Version::V2, path));
            }
        }
        v2
    }

    /// The controllers of each hierarchy, and our cgroup in it.
    ///
    /// A line is `4:memory:/a/b`, or `0::/a/b` for version 2.
    fn memberships(&self) -> impl Iterator<Item = (&str, &str)> {
        self.membership.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
    }
}

impl Mount<'_> {
    fn has_v1(&self, controller: &str) -> bool {
        self.file_system == "cgroup"
            && self.super_options.split(',').any(|name| name == controller)
    }

    /// The directory of the cgroup `path`, when this mount shows it.
    fn directory_of(&self, path: &str) -> Option<PathBuf> {
        let root = unescape(self.root);
        let below_root = Path::new(path).strip_prefix(root).ok()?;
        // A path with ".." leads out of our cgroup namespace, so that it has
        // no directory here. See cgroup_namespaces(7).
        if below_root.starts_with("..") {
            return None;
        }
        // By components, or an empty rest would leave a slash at the end.
        let mut directory = unescape(self.mount_point);
        directory.extend(below_root);
        Some(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(
        membership: &str,
        mountinfo: &str,
        controller: &str,
    ) -> Result<Hierarchy, String> {
        let (membership, mountinfo) = (membership.into(), mountinfo.into());
        let layout = Layout {
            membership,
            mountinfo,
        };
        layout.find(controller).map_err(|error| error.to_string())
    }

    fn hierarchy(version: Version, mount_point: &str, own: &str) -> Hierarchy {
        let (mount_point, own) = (mount_point.into(), own.into());
        Hierarchy {
            version,
            mount_point,
            own,
        }
    }

    const V2: &str = "\
24 30 0:22 / /proc rw,nosuid - proc proc rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - \
cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn version_2_has_one_tree_for_all() {
        let own = "/sys/fs/cgroup/user.slice/a b.scope";
        for controller in ["memory", "cpu", "pids"] {
            assert_eq!(
                find("0::/user.slice/a b.scope\n", V2, controller),
                Ok(hierarchy(Version::V2, "/sys/fs/cgroup", own))
            );
        }
    }

    #[test]
    fn version_1_has_a_tree_for_each() {
        let own = "4:memory:/job/1\n1:cpu,cpuacct:/\n9:name=systemd:/\n0::/x\n";
        let memory = "/sys/fs/cgroup/memory";
        let cpu = "/sys/fs/cgroup/cpu,cpuacct";
        let unified = "/sys/fs/cgroup/unified";
        let own_memory = "/sys/fs/cgroup/memory/job/1";
        let own_unified = "/sys/fs/cgroup/unified/x";
        assert_eq!(
            find(own, HYBRID, "memory"),
            Ok(hierarchy(Version::V1, memory, own_memory))
        );
        assert_eq!(
            find(own, HYBRID, "cpu"),
            Ok(hierarchy(Version::V1, cpu, cpu))
        );
        assert_eq!(
            find(own, HYBRID, "pids"),
            Ok(hierarchy(Version::V2, unified, own_unified))
        );
        assert_eq!(
            find("4:memory:/\n", HYBRID, "pids"),
            Err("no pids controller".into())
        );
    }

    #[test]
    fn each_tree_that_is_mounted_is_listed() {
        let membership = "4:memory:/job/1\n1:cpu,cpuacct:/\n2:pids:/\n\
                          9:name=systemd:/\n0::/x\n";
        let layout = Layout {
            membership: membership.into(),
            mountinfo: HYBRID.into(),
        };
        let names: Vec<_> = layout
            .trees()
            .into_iter()
            .map(|(names, tree)| (names, tree.own))
            .collect();
        let directory = |path: &str| PathBuf::from("/sys/fs/cgroup").join(path);
        assert_eq!(
            names,
            [
                (vec!["memory"], directory("memory/job/1")),
                (vec!["cpu", "cpuacct"], directory("cpu,cpuacct")),
                (vec!["name=systemd"], directory("systemd")),
                (vec![], directory("unified/x")),
            ]
        );
    }

    #[test]
    fn docker_mounts_only_its_own_part_of_the_tree() {
        let mountinfo = "\
700 699 0:32 /docker/1f2e /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup \
rw,memory
";
        let mount_point = "/sys/fs/cgroup/memory";
        assert_eq!(
            find("4:memory:/docker/1f2e\n", mountinfo, "memory"),
            Ok(hierarchy(Version::V1, mount_point, mount_point))
        );
        assert_eq!(
            find("4:memory:/docker/1f2e/x\n", mountinfo, "memory"),
            Ok(hierarchy(
                Version::V1,
                mount_point,
                "/sys/fs/cgroup/memory/x"
            ))
        );
        find("4:memory:/docker/1f2e3d\n", mountinfo, "memory")
            .expect_err("a name that only begins alike");
    }

    #[test]
    fn a_cgroup_outside_of_our_namespace_has_no_directory() {
        let error = find("0::/../other\n", V2, "memory").expect_err("outside");
        assert!(error.contains("/../other"), "{error}");

        let parent = V2.replace(" / /sys/fs", " /.. /sys/fs");
        find("0::/\n", &parent, "memory").expect_err("name unknown");
        assert_eq!(
            find("0::/../other\n", &parent, "memory"),
            Ok(hierarchy(
                Version::V2,
                "/sys/fs/cgroup",
                "/sys/fs/cgroup/other"
            ))
        );
    }

    #[test]
    fn spaces_and_backslashes_in_a_mount_point_are_escaped() {
        assert_eq!(unescape(r"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescape("/plain"), Path::new("/plain"));
    }
}
