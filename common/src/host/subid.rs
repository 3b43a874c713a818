//! Ids that are given away: what `/etc/subuid` and `/etc/subgid` grant to whom,
//! and the programs that give it to a plain user's container. See subuid(5).

use std::{fs::File, process::Command};

use anyhow::{Context, anyhow, ensure};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    unistd::{Pid, getegid, geteuid},
};

use super::passwd::User;
use crate::sys;

/// How many ids a container of root gets: what programs expect to exist.
pub const COUNT: u32 = 65536;

/// Where the range of a container of root begins when none is granted to root:
/// beyond what distributions give to users (from 100000 on), and beyond what
/// systemd takes for its containers (up to 1879048191). It is below 2^31, as
/// some programs take an id for a number with a sign.
const FIRST: u32 = 0x7800_0000;

/// Where ids are granted, and where those are listed who have one anyway.
const USERS: [&str; 2] = ["/etc/subuid", "/etc/passwd"];
const GROUPS: [&str; 2] = ["/etc/subgid", "/etc/group"];

/// Ids in a row: the first one and how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The first of them.
    pub first: u32,
    /// Their number.
    pub count: u32,
}

/// For a container of root, users and groups: a range that is granted to root
/// and to nobody else, or one that is granted to nobody at all. `warn` is told
/// why a line of root's is not taken.
///
/// # Errors
/// No range is left.
pub fn of_root(warn: impl Fn(anyhow::Error)) -> anyhow::Result<(Range, Range)> {
    let (users, groups) = (read(USERS)?, read(GROUPS)?);
    let [_, passwd] = &users;
    let root = User::find_in(passwd, 0);
    let (users, groups) = (grants(&users), grants(&groups));
    let range = |[file, _]: [&str; 2], grants: &[Grant]| {
        let granted = range(grants, root.as_ref(), 0, COUNT);
        let granted = granted.unwrap_or_else(|reason| {
            warn(anyhow!("not taken from {file}: {reason}"));
            None
        });
        let first = match granted {
            Some(range) => range.first,
            None => free_range(users.iter().chain(&groups))?,
        };
        let count = COUNT;
        anyhow::Ok(Range { first, count })
    };
    Ok((range(USERS, &users)?, range(GROUPS, &groups)?))
}

/// What is granted to a plain user, and given by two programs.
pub struct Granted {
    users: Range,
    groups: Range,
}

impl Granted {
    /// What is granted to the user that this process runs as; `None` if there
    /// is no line for it in one of the two files.
    ///
    /// # Errors
    /// What is granted can't be used.
    pub fn to_us() -> anyhow::Result<Option<Granted>> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let user = User::find(uid);
        let range = |files, own| {
            let [file, _] = files;
            let text = read(files)?;
            range(&grants(&text), user.as_ref(), own, 1)
                .map_err(|reason| anyhow!("not taken from {file}: {reason}"))
        };
        // Both or neither: a range of groups goes with a range of users.
        let both = range(USERS, uid)?.zip(range(GROUPS, gid)?);
        let Some((users, groups)) = both else {
            return Ok(None);
        };
        let group = user.map_or(gid, |user| user.gid);
        ensure!(
            group == gid,
            "newgidmap maps no group but that of /etc/passwd, {group}, and \
             yours is {gid}"
        );
        Ok(Some(Granted { users, groups }))
    }

    /// Gives `process`, the first of a new user namespace, its groups: 0 inside
    /// is ours, and those from 1 on are what is granted.
    pub fn map_groups(&self, process: Pid) -> anyhow::Result<()> {
        map("newgidmap", process, getegid().as_raw(), self.groups)
    }

    /// The same for the users.
    pub fn map_users(&self, process: Pid) -> anyhow::Result<()> {
        map("newuidmap", process, geteuid().as_raw(), self.users)
    }
}

/// Runs `newuidmap` or `newgidmap`, set-uid programs that write the table for a
/// plain user if `/etc/subuid` or `/etc/subgid` allows it. See newuidmap(1).
fn map(
    program: &str,
    process: Pid,
    own: u32,
    range: Range,
) -> anyhow::Result<()> {
    // In some editors' terminals, for example.
    ensure!(
        !sys::prctl_get_no_new_privs()?,
        "{program} can't become root: no_new_privs is set for this process"
    );
    let Range { first, count } = range;
    let arguments = format!("{process} 0 {own} 1 1 {first} {count}");
    let output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .with_context(|| format!("execve({program:?})"))?;
    let says = String::from_utf8_lossy(&output.stderr);
    let says = says.trim();
    ensure!(output.status.success(), "{program} {arguments}: {says}");
    Ok(())
}

/// What somebody has: ids from `first` to the one before `end`, which may lie
/// beyond the last id that there is.
struct Grant<'a> {
    user: &'a [u8],
    first: u64,
    end: u64,
}

/// In the first text lines are `user:first:count`; the user is a name or a
/// number. In the second one they are `name:x:id:…`. What is not of this form
/// grants nothing. See subuid(5), passwd(5) and group(5).
///
/// This is read at each start, so byte by byte: on a machine of many users it is
/// most of what a start computes.
fn grants([granted, own]: &[Vec<u8>; 2]) -> Vec<Grant<'_>> {
    let granted = lines(granted).filter_map(Grant::parse);
    granted.chain(lines(own).filter_map(Grant::own)).collect()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b':')
}

impl Grant<'_> {
    fn parse(line: &[u8]) -> Option<Grant<'_>> {
        let mut fields = fields(line);
        let user = fields.next()?;
        let first = number(fields.next()?)?;
        let count = number(fields.next()?)?;
        let end = first.saturating_add(count);
        Some(Grant { user, first, end })
    }

    /// An id that is in use, so that it can't be granted to anybody.
    fn own(line: &[u8]) -> Option<Grant<'_>> {
        let id = fields(line).nth(2).and_then(decimal)?;
        let first = id.into();
        let (user, end) = (&[][..], first + 1);
        Some(Grant { user, first, end })
    }

    /// Whether it is for the user with the number `uid`, or with that name.
    fn is_of(&self, uid: u32, user: Option<&User>) -> bool {
        let number = str::from_utf8(self.user).map(str::parse);
        // What is no UTF-8 in a name was replaced when it was read.
        let is_name = |name: &str| {
            name.as_bytes() == self.user
                || !self.user.is_ascii()
                    && name == String::from_utf8_lossy(self.user)
        };
        number == Ok(Ok(uid)) || user.is_some_and(|user| is_name(&user.name))
    }

    fn overlaps(&self, first: u64, end: u64) -> bool {
        self.first < end && first < self.end
    }

    /// The ids, if all of them exist: the last one, -1, means "none".
    fn range(&self) -> Option<Range> {
        let first = self.first.try_into().ok()?;
        let count = (self.end - self.first).try_into().ok()?;
        let exist = self.end <= u64::from(u32::MAX);
        (exist && count > 0).then_some(Range { first, count })
    }
}

/// An id as it stands in the other two files.
fn decimal(digits: &[u8]) -> Option<u32> {
    let mut digits = digits.iter().map(|byte| char::from(*byte).to_digit(10));
    let first = digits.next()??;
    digits.try_fold(first, |id, digit| id.checked_mul(10)?.checked_add(digit?))
}

/// A number as newuidmap(1) reads it, by strtoul(3): `0x10` and `020` are 16.
fn number(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.starts_with('0') => u64::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

/// The first range that is granted to us, who have the number `own`, and to
/// nobody else, and holds `least` ids; `None` if there is no line for us. The
/// error says why our lines are not taken: where they hold the ids of others,
/// a process inside would be one of them.
fn range(
    grants: &[Grant],
    user: Option<&User>,
    own: u32,
    least: u32,
) -> Result<Option<Range>, &'static str> {
    let is_ours = |grant: &&Grant| grant.is_of(own, user);
    let mut result = Ok(None);
    for grant in grants.iter().filter(is_ours) {
        let has = |id: u32| grant.overlaps(id.into(), u64::from(id) + 1);
        let shared = grants.iter().any(|other| {
            !is_ours(&other) && other.overlaps(grant.first, grant.end)
        });
        let range = grant.range().filter(|range| range.count >= least);
        result = match range {
            None => result.and(Err("there are too few ids in it")),
            Some(_) if own == 0 && grant.first < COUNT.into() => {
                Err("it begins below 65536, where the ids of users are")
            }
            Some(_) if has(0) => Err("root is in it"),
            Some(_) if has(own) => Err("you are in it yourself"),
            Some(_) if shared => Err("others have the same ids"),
            Some(range) => return Ok(Some(range)),
        };
    }
    result
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

/// Files that need not exist.
fn read(paths: [&str; 2]) -> anyhow::Result<[Vec<u8>; 2]> {
    let read = |path| match sys::open(path, OFlag::O_RDONLY, 0) {
        Err(error) if error.errno == Errno::ENOENT => Ok(Vec::new()),
        file => {
            let mut bytes = Vec::with_capacity(4096);
            sys::read_to_end(File::from(file?), &mut bytes)?;
            anyhow::Ok(bytes)
        }
    };
    Ok([read(paths[0])?, read(paths[1])?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "toor:x:0:0::/:\nann:x:1000:\nodd\n:::\neve:x:88000:";

    fn granted(
        text: &str,
        name: &str,
        uid: u32,
        least: u32,
    ) -> Result<Option<(u32, u32)>, &'static str> {
        let user = User {
            name: name.into(),
            uid,
            gid: uid,
            home: "/".into(),
        };
        let texts = [text.into(), PASSWD.into()];
        let range = range(&grants(&texts), Some(&user), uid, least)?;
        Ok(range.map(|range| (range.first, range.count)))
    }

    #[test]
    fn a_name_may_be_no_utf_8() {
        let passwd = b"j\xf6rg:x:1000:1000::/:".to_vec();
        let user = User::find_in(&passwd, 1000);
        let texts = [b"j\xf6rg:300000:9\n".to_vec(), passwd];
        let range = range(&grants(&texts), user.as_ref(), 1000, 1);
        assert_eq!(range.map(|it| it.map(|it| it.first)), Ok(Some(300_000)));
    }

    fn roots(text: &str) -> Result<Option<u32>, &'static str> {
        let range = granted(text, "toor", 0, COUNT)?;
        Ok(range.map(|(first, _)| first))
    }

    fn free(text: &str) -> Option<u32> {
        let texts = [text.into(), PASSWD.into()];
        free_range(grants(&texts).iter()).ok()
    }

    #[test]
    fn root_gets_the_first_range_that_is_large_and_roots_alone() {
        let by_number = "0:300000:65536\n";
        assert_eq!(roots("ann:100000:65536\n"), Ok(None));
        assert_eq!(roots(""), Ok(None));
        assert_eq!(roots("toor:200000:65536\n"), Ok(Some(200000)));
        assert_eq!(roots("toor:0x20000:0200000\n"), Ok(Some(0x20000)));
        assert_eq!(roots(by_number), Ok(Some(300000)));
        let small_first = format!("toor:200000:65535\n{by_number}");
        assert_eq!(roots(&small_first), Ok(Some(300000)));
        for text in [
            "toor:0:4294967295\n",
            "toor:1000:65536\n",
            "toor:65535:65536\n",
            "toor:200000:10\n",
            "toor:200000:65536\nann:265535:1\n",
            "toor:70000:65536\n",
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
        assert_eq!(free("ann:0x78000000:1\n"), Some(FIRST + 1));
        let user = [Vec::new(), format!("ann:x:{FIRST}:100::/:\n").into()];
        assert_eq!(free_range(grants(&user).iter()).ok(), Some(FIRST + 1));
        assert_eq!(free("ann:1000:18446744073709551615\n"), None);
        assert_eq!(free("ann:0:4294967295\n"), None);
        let last = u32::MAX - COUNT;
        assert_eq!(free(&format!("ann:0:{last}\n")), Some(last));
        assert_eq!(free(&format!("ann:0:{}\n", last + 1)), None);
    }

    #[test]
    fn a_plain_user_gets_no_range_with_an_id_that_is_taken() {
        let range = |text| granted(text, "ann", 1000, 1);
        assert_eq!(range("ann:100000:65536\n"), Ok(Some((100000, 65536))));
        assert_eq!(range("ann:0:65536\nann:7000:9\n"), Ok(Some((7000, 9))));
        assert_eq!(range("eve:100000:65536\n"), Ok(None));
        range("ann:1000:1\n").expect_err("ann is in it");
        range("ann:88000:1\n").expect_err("it is eve");
        range("ann:100000:0\n").expect_err("there is none in it");
        range("ann:100000:9\neve:100008:9\n").expect_err("it is eve's, too");
    }
}
