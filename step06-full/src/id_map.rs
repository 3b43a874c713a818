//! Tables of ids: which ones inside stand for which outside.

use std::{env, fmt, fs, path::Path};

use anyhow::Context;
use nix::{
    sys::prctl,
    unistd::{getegid, geteuid},
};

/// How many ids a container of root gets: what programs expect to exist.
const COUNT: u32 = 65536;

/// Where the range of a container of root begins when `/etc/subuid` has none
/// for root. Distributions give ids from here on to nobody else by default.
const FIRST: u32 = 100_000;

/// Users or groups; both work the same way.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    User,
    Group,
}

/// A table of ids, as `uid_map` takes it.
pub(crate) struct IdMap(Vec<Extent>);

/// A line of the table.
struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    /// Whether there are more ids than root's.
    pub(crate) fn is_range(&self) -> bool {
        self.0
            .iter()
            .map(|extent| u64::from(extent.count))
            .sum::<u64>()
            > 1
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, extent) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let Extent {
                inside,
                outside,
                count,
            } = extent;
            write!(f, "{separator}{inside} {outside} {count}")?;
        }
        Ok(())
    }
}

/// For root, who is called `name`: a range that belongs to nobody.
pub(crate) fn of_root(kind: Kind, name: Option<&str>) -> anyhow::Result<IdMap> {
    let outside = granted(kind, name)?
        .filter(|(_, count)| *count >= COUNT)
        .map_or(FIRST, |(first, _)| first);
    Ok(IdMap(vec![Extent {
        inside: 0,
        outside,
        count: COUNT,
    }]))
}

/// For a plain user, who is called `name`, the tables of users and of groups:
/// 0 is the user, and the user's group; the ids from 1 on are those that
/// `/etc/subuid` grants, if it does and the program that maps them works.
pub(crate) fn of_user(name: Option<&str>) -> anyhow::Result<(IdMap, IdMap)> {
    // The program is set-uid root, which does nothing under no_new_privs (in
    // some editors' terminals, for example).
    let complete = is_installed("newuidmap")
        && is_installed("newgidmap")
        && !prctl::get_no_new_privs().context("prctl(PR_GET_NO_NEW_PRIVS)")?;
    let users = granted(Kind::User, name)?;
    let groups = granted(Kind::Group, name)?;
    // Both or neither: a range of groups goes with a range of users.
    let both = users.zip(groups).filter(|_| complete);
    let (users, groups) = both.unzip();
    Ok((
        with_root(geteuid().as_raw(), users),
        with_root(getegid().as_raw(), groups),
    ))
}

/// 0 inside is `root` outside, and the ids from 1 on are those of `range`.
fn with_root(root: u32, range: Option<(u32, u32)>) -> IdMap {
    let extent = |inside, (outside, count)| Extent {
        inside,
        outside,
        count,
    };
    let range = range.map(|range| extent(1, range));
    IdMap([extent(0, (root, 1))].into_iter().chain(range).collect())
}

/// Every id that exists here stands for itself.
pub(crate) fn identity(kind: Kind) -> anyhow::Result<IdMap> {
    let path = match kind {
        Kind::User => "/proc/self/uid_map",
        Kind::Group => "/proc/self/gid_map",
    };
    let text =
        fs::read_to_string(path).with_context(|| format!("read({path:?})"))?;
    let numbers: Vec<u32> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("reading {path:?}"))?;
    let extents = numbers.chunks_exact(3);
    Ok(IdMap(
        extents
            .map(|extent| Extent {
                inside: extent[0],
                outside: extent[0],
                count: extent[2],
            })
            .collect(),
    ))
}

/// The first range that is granted to us, who are called `name`: its first id
/// and their number. See subuid(5).
fn granted(
    kind: Kind,
    name: Option<&str>,
) -> anyhow::Result<Option<(u32, u32)>> {
    let text = match kind {
        Kind::User => read("/etc/subuid")?,
        Kind::Group => read("/etc/subgid")?,
    };
    Ok(find_range(&text, geteuid().as_raw(), name))
}

/// Lines are `user:first:count`; the user is a name or a number.
fn find_range(text: &str, uid: u32, name: Option<&str>) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let user = fields.next()?;
        if user.parse() != Ok(uid) && Some(user) != name {
            return None;
        }
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

/// A file that need not exist.
fn read(path: &str) -> anyhow::Result<String> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(String::new())
        }
        bytes => {
            let bytes = bytes.with_context(|| format!("read({path:?})"))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
    }
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| Path::new(&dir).join(program).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBUID: &str = "ann:100000:65536\n1000:165536:65536\nbob:x:y\n";

    #[test]
    fn a_range_is_granted_by_name_or_by_number() {
        assert_eq!(find_range(SUBUID, 7, Some("ann")), Some((100000, 65536)));
        assert_eq!(find_range(SUBUID, 1000, None), Some((165536, 65536)));
        assert_eq!(find_range(SUBUID, 7, Some("eve")), None);
        assert_eq!(find_range(SUBUID, 7, Some("bob")), None);
    }

    #[test]
    fn a_map_is_written_as_the_kernel_reads_it() {
        let root = Extent {
            inside: 0,
            outside: 1000,
            count: 1,
        };
        let rest = Extent {
            inside: 1,
            outside: 100000,
            count: 65536,
        };
        let map = IdMap(vec![root, rest]);
        assert_eq!(map.to_string(), "0 1000 1\n1 100000 65536");
        assert!(map.is_range());
    }
}
