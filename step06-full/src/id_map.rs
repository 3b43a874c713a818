//! Tables of ids: which ones inside stand for which outside.

use std::{env, fmt, fs, io::ErrorKind, path::Path};

use anyhow::{Context, anyhow};
use common::{passwd::User, report};
use nix::{
    sys::prctl,
    unistd::{getegid, geteuid},
};

/// How many ids a container of root gets: what programs expect to exist.
const COUNT: u32 = 65536;

/// Where the range of a container of root begins when none is granted to root:
/// beyond what distributions give to users (from 100000 on), and beyond what
/// systemd takes for its containers (up to 1879048191). It is below 2^31, as
/// some programs take an id for a number with a sign.
const FIRST: u32 = 0x7800_0000;

/// A table of ids, as `uid_map` takes it.
pub(crate) struct IdMap(Vec<Extent>);

/// A line of the table.
struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    /// Who root inside is outside.
    pub(crate) fn root_outside(&self) -> Option<u32> {
        self.0.first().map(|extent| extent.outside)
    }

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

/// For root, the tables of users and of groups: a range that is granted to root
/// and to nobody else, or one that is granted to nobody at all.
///
/// # Errors
/// A file can't be read, or no range is left.
pub(crate) fn of_root(user: Option<&User>) -> anyhow::Result<(IdMap, IdMap)> {
    let (users, groups) = (read(SUBUID)?, read(SUBGID)?);
    let (users, groups) = (grants(&users), grants(&groups));
    let table = |file, grants: &[Grant]| {
        let granted = roots_range(grants, user).unwrap_or_else(|reason| {
            report::warning(&anyhow!("not taken from {file}: {reason}"));
            None
        });
        let outside = match granted {
            Some(first) => first,
            None => free_range(users.iter().chain(&groups))?,
        };
        anyhow::Ok(IdMap(vec![Extent {
            inside: 0,
            outside,
            count: COUNT,
        }]))
    };
    Ok((table(SUBUID, &users)?, table(SUBGID, &groups)?))
}

/// For a plain user, the tables of users and of groups: 0 is the user, and the
/// user's group; the ids from 1 on are those that `/etc/subuid` grants, if it
/// does and the program that maps them works.
pub(crate) fn of_user(user: Option<&User>) -> anyhow::Result<(IdMap, IdMap)> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // The program is set-uid root, which does nothing under no_new_privs (in
    // some editors' terminals, for example), and it maps no group but the
    // user's own: after newgrp(1) that is not the one that we have.
    let complete = is_installed("newuidmap")
        && is_installed("newgidmap")
        && user.is_some_and(|user| user.gid == gid)
        && !prctl::get_no_new_privs().context("prctl(PR_GET_NO_NEW_PRIVS)")?;
    // What can't be read grants nothing.
    let range = |file, own| {
        let text = read(file).unwrap_or_default();
        users_range(&grants(&text), user, own).filter(|_| complete)
    };
    // Both or neither: a range of groups goes with a range of users.
    let both = range(SUBUID, uid).zip(range(SUBGID, gid));
    let (users, groups) = both.unzip();
    Ok((with_root(uid, users), with_root(gid, groups)))
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

/// Tables of users and of groups in which every id that exists here stands for
/// itself.
pub(crate) fn identity() -> anyhow::Result<(IdMap, IdMap)> {
    let of = |path| {
        let text = fs::read_to_string(path)
            .with_context(|| format!("read({path:?})"))?;
        let numbers: Vec<u32> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("reading {path:?}"))?;
        let extents = numbers.chunks_exact(3).map(|extent| Extent {
            inside: extent[0],
            outside: extent[0],
            count: extent[2],
        });
        anyhow::Ok(IdMap(extents.collect()))
    };
    Ok((of("/proc/self/uid_map")?, of("/proc/self/gid_map")?))
}

const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";

/// A line of `/etc/subuid` or `/etc/subgid`: ids from `first` to the one before
/// `end`, which may lie beyond the last id that there is.
struct Grant<'a> {
    user: &'a str,
    first: u64,
    end: u64,
}

/// Lines are `user:first:count`; the user is a name or a number. What is not of
/// this form grants nothing. See subuid(5).
fn grants(text: &str) -> Vec<Grant<'_>> {
    text.lines().filter_map(Grant::parse).collect()
}

impl Grant<'_> {
    fn parse(line: &str) -> Option<Grant<'_>> {
        let mut fields = line.split(':');
        let user = fields.next()?;
        let first: u64 = fields.next()?.trim().parse().ok()?;
        let count: u64 = fields.next()?.trim().parse().ok()?;
        let end = first.saturating_add(count);
        Some(Grant { user, first, end })
    }

    fn is_of(&self, user: Option<&User>) -> bool {
        self.user.parse() == Ok(geteuid().as_raw())
            || user.is_some_and(|user| user.name == self.user)
    }

    fn overlaps(&self, first: u64, end: u64) -> bool {
        self.first < end && first < self.end
    }

    /// The first id and the number of them, if all of them exist: the last one,
    /// -1, means "none".
    fn ids(&self) -> Option<(u32, u32)> {
        let first = self.first.try_into().ok()?;
        let count = (self.end - self.first).try_into().ok()?;
        let exist = self.end <= u64::from(u32::MAX);
        (exist && count > 0).then_some((first, count))
    }
}

/// The first range that is granted to root, to nobody else, and is large enough;
/// `None` if there is no line for root. The error says why root's lines are not
/// taken: where they hold the ids of users, root inside would be one of them.
fn roots_range(
    grants: &[Grant],
    user: Option<&User>,
) -> Result<Option<u32>, &'static str> {
    let mut result = Ok(None);
    for grant in grants.iter().filter(|grant| grant.is_of(user)) {
        let shared = grants.iter().any(|other| {
            !other.is_of(user) && other.overlaps(grant.first, grant.end)
        });
        let (first, count) = grant.ids().unwrap_or_default();
        match () {
            () if count < COUNT => {
                result = result.and(Err("root has fewer than 65536 ids there"));
            }
            () if first < COUNT => {
                result = Err("what root has there begins below 65536, where \
                              the ids of users are");
            }
            () if shared => {
                result = Err("what root has there is granted to others, too");
            }
            () => return Ok(Some(first)),
        }
    }
    result
}

/// The first range that is granted to a plain user, unless the user's `own` id
/// or root's is in it.
fn users_range(
    grants: &[Grant],
    user: Option<&User>,
    own: u32,
) -> Option<(u32, u32)> {
    let mut ours = grants.iter().filter(|grant| grant.is_of(user));
    ours.find_map(|grant| {
        let has = |id: u32| grant.overlaps(id.into(), u64::from(id) + 1);
        grant.ids().filter(|_| !has(own) && !has(0))
    })
}

/// The first of [`COUNT`] ids, none of which is granted to anybody.
fn free_range<'a>(
    granted: impl Iterator<Item = &'a Grant<'a>>,
) -> anyhow::Result<u32> {
    let (mut first, count) = (u64::from(FIRST), u64::from(COUNT));
    let mut granted: Vec<_> = granted.filter(|it| it.end > first).collect();
    granted.sort_by_key(|grant| grant.first);
    for grant in granted {
        if grant.overlaps(first, first.saturating_add(count)) {
            first = grant.end;
        }
    }
    u32::try_from(first)
        .ok()
        .filter(|first| first.checked_add(COUNT).is_some())
        .context("no 65536 ids are left that /etc/subuid grants to nobody")
}

/// A file that need not exist.
fn read(path: &str) -> anyhow::Result<String> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
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

    /// We, who are root here as well as a plain user.
    fn us(name: &str) -> Option<User> {
        Some(User {
            name: name.into(),
            uid: geteuid().as_raw(),
            gid: 0,
            home: "/".into(),
        })
    }

    fn roots(text: &str) -> Result<Option<u32>, &'static str> {
        roots_range(&grants(text), us("toor").as_ref())
    }

    fn free(text: &str) -> Option<u32> {
        free_range(grants(text).iter()).ok()
    }

    #[test]
    fn root_gets_the_first_range_that_is_large_and_roots_alone() {
        let by_number = format!("{}:300000:65536\n", geteuid());
        assert_eq!(roots("ann:100000:65536\n"), Ok(None));
        assert_eq!(roots(""), Ok(None));
        assert_eq!(roots("toor:200000:65536\n"), Ok(Some(200000)));
        assert_eq!(roots(&by_number), Ok(Some(300000)));
        let small_first = format!("toor:200000:65535\n{by_number}");
        assert_eq!(roots(&small_first), Ok(Some(300000)));
        for text in [
            "toor:0:4294967295\n",
            "toor:1000:65536\n",
            "toor:65535:65536\n",
            "toor:200000:10\n",
            "toor:200000:65536\nann:265535:1\n",
            "toor:4294901760:65536\n",
            "toor:18446744073709551615:65536\n",
        ] {
            roots(text).expect_err(text);
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_grants_nothing() {
        for text in ["toor", "toor:", "toor:x:y", "toor:-1:65536", "::", "\n"] {
            assert_eq!(roots(text), Ok(None), "{text}");
            assert_eq!(free(text), Some(FIRST), "{text}");
        }
    }

    #[test]
    fn a_free_range_is_nobodys() {
        assert_eq!(free(""), Some(FIRST));
        assert_eq!(free("ann:100000:65536\n"), Some(FIRST));
        let taken = format!("ann:{FIRST}:1\nbob:{}:1\n", FIRST + COUNT + 1);
        assert_eq!(free(&taken), Some(FIRST + 1));
        let before = format!("ann:{}:2\n", FIRST - 1);
        assert_eq!(free(&before), Some(FIRST + 1));
        let beyond = format!("ann:{}:1\n", FIRST + COUNT);
        assert_eq!(free(&beyond), Some(FIRST));
        assert_eq!(free("ann:1000:18446744073709551615\n"), None);
        assert_eq!(free("ann:0:4294967295\n"), None);
        let last = u32::MAX - COUNT;
        assert_eq!(free(&format!("ann:0:{last}\n")), Some(last));
        assert_eq!(free(&format!("ann:0:{}\n", last + 1)), None);
    }

    #[test]
    fn a_plain_user_gets_no_range_with_an_id_that_is_taken() {
        let range = |text| users_range(&grants(text), us("ann").as_ref(), 1000);
        assert_eq!(range("ann:100000:65536\n"), Some((100000, 65536)));
        assert_eq!(range("ann:0:65536\nann:7000:9\n"), Some((7000, 9)));
        assert_eq!(range("ann:1000:1\n"), None);
        assert_eq!(range("ann:100000:0\n"), None);
        assert_eq!(range("eve:100000:65536\n"), None);
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
