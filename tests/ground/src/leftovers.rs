//! The cgroups that a test leaves behind when it kills a container.
//!
//! A run of a step removes those of dead runs, but only of its own PID
//! namespace. Where a test has started one in a PID namespace that has ended
//! meanwhile, nobody comes by who knows it for dead.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    cgroups::{self, Cgroup},
    processes::{self, Stat},
};

/// Removes, when it is dropped, what was made since then and belongs to nobody.
#[derive(Debug)]
pub struct Sweeper {
    before: BTreeSet<PathBuf>,
}

impl Sweeper {
    /// To be called before the first test.
    #[must_use = "it sweeps when it is dropped"]
    pub fn new() -> Sweeper {
        Sweeper {
            before: of_containers(),
        }
    }
}

impl Default for Sweeper {
    fn default() -> Sweeper {
        Sweeper::new()
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        sweep(of_containers().difference(&self.before));
    }
}

/// The cgroups of containers beside our own and below it, in each tree.
pub fn of_containers() -> BTreeSet<PathBuf> {
    let mounts = cgroups::mounts().unwrap_or_default();
    let own = cgroups::of_process("self").unwrap_or_default();
    let parents = own.iter().filter_map(Cgroup::parent);
    let parents: Vec<Cgroup> = parents.collect();
    let places = own.iter().chain(&parents);
    // A tree may be mounted more than once, and two may be without a parent.
    let places: BTreeSet<PathBuf> =
        places.flat_map(|it| it.directories(&mounts)).collect();
    let all = places.iter().flat_map(|it| cgroups::children(it));
    all.filter(|it| name_of(it).is_some()).collect()
}

/// Removes those of `cgroups` that are ours, and whose maker is gone.
pub fn sweep<'a>(cgroups: impl IntoIterator<Item = &'a PathBuf>) {
    // Only now: whoever has made one of them is among the processes, or dead.
    let living = sees_all().then(pid_namespaces);
    for cgroup in cgroups {
        let name = name_of(cgroup);
        let dead = name.is_some_and(|name| name.is_dead(living.as_ref()));
        if !dead || owner_of(cgroup) != owner_of(Path::new("/proc/self")) {
            continue;
        }
        match cgroups::remove_all(cgroup) {
            Err(error) if cgroup.exists() => {
                eprintln!("swept in vain: rmdir({cgroup:?}): {error}");
            }
            // Somebody else may be faster.
            _ => {}
        }
    }
}

fn owner_of(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.uid())
}

/// What the name of a cgroup says of its maker: the number of its PID
/// namespace, its own number in there, and when it started.
#[derive(Debug, PartialEq)]
struct Name {
    namespace: u64,
    pid: i32,
    start_time: u64,
}

fn name_of(cgroup: &Path) -> Option<Name> {
    let name = cgroup.file_name()?.to_str()?;
    let name = name.strip_prefix(cgroups::OF_CONTAINERS)?;
    let name = name.strip_suffix("-leaf").unwrap_or(name);
    let mut numbers = name.split('.');
    Some(Name {
        namespace: numbers.next()?.parse().ok()?,
        pid: numbers.next()?.parse().ok()?,
        start_time: numbers.next()?.parse().ok()?,
    })
}

impl Name {
    /// Whether its maker is gone. In a namespace that is not ours it has a
    /// number that we can't know it by: there it lives as long as anybody, and
    /// who can't see all namespaces that are `living` can't know that.
    fn is_dead(&self, living: Option<&BTreeSet<u64>>) -> bool {
        if Some(self.namespace) == pid_namespace("self") {
            let now = Stat::of(self.pid);
            return now.is_none_or(|it| it.start_time != self.start_time);
        }
        living.is_some_and(|it| !it.contains(&self.namespace))
    }
}

/// Whether we see the processes of the whole machine: those in the first PID
/// namespace do, which always has this number. See `PID_NS_INIT_INO` in the
/// kernel's `include/uapi/linux/nsfs.h`.
pub fn sees_all() -> bool {
    pid_namespace("self") == Some(0xEFFF_FFFC)
}

/// The PID namespaces that somebody is in, as far as we can see. A zombie is
/// nobody.
fn pid_namespaces() -> BTreeSet<u64> {
    let lives = |pid: &i32| Stat::of(*pid).is_some_and(|it| it.state != 'Z');
    let all = processes::all().filter(lives);
    all.filter_map(|pid| pid_namespace(&pid.to_string()))
        .collect()
}

/// That of a process: its number, or `self`.
fn pid_namespace(process: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{process}/ns/pid")).ok()?;
    let number = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Option<Name> {
        name_of(&Path::new("/sys/fs/cgroup/pids").join(name))
    }

    #[test]
    fn only_a_name_that_tells_its_maker_is_one() {
        let expected = Name {
            namespace: 4026531836,
            pid: 7,
            start_time: 99,
        };
        let name = "container-in-six-steps.4026531836.7.99";
        assert_eq!(parsed(name).as_ref(), Some(&expected));
        assert_eq!(parsed(&format!("{name}-leaf")), Some(expected));
        for other in ["x.1.7.99", "container-in-six-steps.", "lab.7.99"] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[test]
    fn a_maker_that_lives_keeps_its_own() {
        let living = pid_namespaces();
        let pid = std::process::id().cast_signed();
        let ours = Name {
            namespace: pid_namespace("self").expect("/proc is mounted"),
            pid,
            start_time: Stat::of(pid).expect("we live").start_time,
        };
        assert!(!ours.is_dead(Some(&living)));
        let namespace = ours.namespace;
        let before_us = Name {
            start_time: 1,
            ..ours
        };
        assert!(before_us.is_dead(None));
        // Nobody is in there, or somebody whom we can't tell from its maker.
        let elsewhere = |namespace| Name {
            namespace,
            pid: 1,
            start_time: 1,
        };
        assert!(elsewhere(1).is_dead(Some(&living)));
        assert!(!elsewhere(1).is_dead(Some(&BTreeSet::from([1, namespace]))));
        assert!(!elsewhere(1).is_dead(None));
    }
}
