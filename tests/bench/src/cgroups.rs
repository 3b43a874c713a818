//! Where the straight programs make their cgroups: beside those of the steps.

use std::fs;

use anyhow::Context;

/// For each of `memory`, `cpu` and `pids` the directory of our cgroup that has
/// it; all the same on version 2; empty where there is none for us.
pub(crate) fn parents() -> anyhow::Result<[String; 3]> {
    let read = |path| {
        fs::read_to_string(path).with_context(|| format!("open({path:?})"))
    };
    let membership = read("/proc/self/cgroup")?;
    let mounts = read("/proc/self/mounts")?;
    let parents = ["memory", "cpu", "pids"]
        .map(|name| find(&membership, &mounts, name).unwrap_or_default());
    // Two versions in one container would be a benchmark of its own.
    let usable = parents.iter().all(|parent| may_write(parent));
    Ok(if usable {
        parents
    } else {
        [const { String::new() }; 3]
    })
}

/// The layout in a word, for the head of the table.
pub(crate) fn layout(parents: &[String; 3]) -> &'static str {
    match parents {
        [memory, ..] if memory.is_empty() => "none for us",
        [memory, _, pids] if memory == pids => "version 2",
        _ => "version 1",
    }
}

/// A line of `membership` is `4:memory:/a/b`, or `0::/a/b` for version 2; one of
/// `mounts` is `cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0`.
fn find(membership: &str, mounts: &str, controller: &str) -> Option<String> {
    let own = |wanted: &str| {
        membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let mut names = fields.next()?.split(',');
            let path = fields.next()?;
            names.any(|name| name == wanted).then_some(path)
        })
    };
    let mount = |file_system: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let &[_, place, kind, options, ..] = &fields[..] else {
                return None;
            };
            let matches = kind == file_system
                && options.split(',').any(|it| it == option || option == "*");
            matches.then_some(place)
        })
    };
    let (place, path) = match own(controller) {
        Some(path) => (mount("cgroup", controller)?, path),
        // Where the step puts it, too: beside its own cgroup, not below it.
        None => (mount("cgroup2", "*")?, own("")?.rsplit_once('/')?.0),
    };
    Some(format!("{place}{path}").trim_end_matches('/').to_owned())
}

fn may_write(directory: &str) -> bool {
    use nix::unistd::{AccessFlags, access};
    access(directory, AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_has_a_tree_for_each_controller() {
        let membership = "4:memory:/job/1\n1:cpu,cpuacct:/\n0::/x\n";
        let mounts = "\
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
";
        let find = |name| find(membership, mounts, name);
        let memory = "/sys/fs/cgroup/memory/job/1";
        assert_eq!(find("memory").as_deref(), Some(memory));
        let cpu = "/sys/fs/cgroup/cpu,cpuacct";
        assert_eq!(find("cpu").as_deref(), Some(cpu));
    }

    #[test]
    fn version_2_has_one_tree_and_ours_goes_beside_us() {
        let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        let found = find("0::/user/a.scope\n", mounts, "pids");
        assert_eq!(found.as_deref(), Some("/sys/fs/cgroup/user"));
    }
}
