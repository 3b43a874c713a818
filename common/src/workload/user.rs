//! Whom a command runs as: names are looked up in the container, since they mean
//! what its own files say, and nothing on the host.
#![allow(unsafe_code)]

use std::{ffi::OsString, fs, io::Read, os::unix::fs::OpenOptionsExt};

use anyhow::{Context, ensure};
use libc::{c_long, gid_t, uid_t};
use nix::{errno::Errno, sys::prctl, unistd::Uid};

use crate::host::{files::text, machine::has_id, passwd::User};

/// How much of a file of the image is read: it has users, not a bomb.
const SIZE_MAX: u64 = 1 << 20;

/// Somebody in the container.
#[derive(Debug, PartialEq)]
pub(super) struct Account {
    uid: uid_t,
    gid: gid_t,
    groups: Vec<gid_t>,
    /// Where the user is at home.
    pub(super) home: OsString,
}

impl Account {
    /// Finds `NAME[:GROUP]`, each a name or a number. To be called in the
    /// container.
    ///
    /// # Errors
    /// There is no such name, or the number is not one of this container's.
    pub(super) fn find(text: &str) -> anyhow::Result<Account> {
        let account =
            Account::parse(text, &read("/etc/passwd"), &read("/etc/group"))?;
        let ids = account.groups.iter().chain([&account.gid]);
        for gid in ids {
            expect_mapped("gid_map", *gid)?;
        }
        expect_mapped("uid_map", account.uid)?;
        Ok(account)
    }

    pub(super) fn uid(&self) -> Uid {
        Uid::from_raw(self.uid)
    }

    fn parse(text: &str, passwd: &str, group: &str) -> anyhow::Result<Account> {
        let (name, wanted) = text.split_once(':').unwrap_or((text, ""));
        // As Docker: nobody is root, and no group is the user's own.
        let name = if name.is_empty() { "0" } else { name };
        let wanted = Some(wanted).filter(|it| !it.is_empty());
        let user = User::all(passwd.as_bytes())
            .find(|it| it.name == name || it.uid.to_string() == name);
        let uid = match &user {
            Some(user) => user.uid,
            None => name
                .parse()
                .ok()
                .with_context(|| format!("there is no user {name:?} in it"))?,
        };
        let groups = || group.lines().filter_map(Group::parse);
        let gid = match (wanted, &user) {
            (None, Some(user)) => user.gid,
            (None, None) => 0,
            (Some(wanted), _) => groups()
                .find(|it| it.name == wanted)
                .map(|it| it.gid)
                .or_else(|| wanted.parse().ok())
                .with_context(|| format!("there is no group {wanted:?}"))?,
        };
        // As after a login; who names a group has that one.
        let more = groups().filter(|it| {
            let mut members = it.members.split(',');
            let has = |user: &User| members.any(|it| it == user.name);
            wanted.is_none() && user.as_ref().is_some_and(has)
        });
        Ok(Account {
            uid,
            gid,
            groups: more.map(|it| it.gid).collect(),
            home: user.map_or("/".into(), |it| it.home.into()),
        })
    }

    /// Becomes this user. Allocates nothing: it is called in a process that runs
    /// in the memory of another one, and for the same reason these are the
    /// system calls, not the C library's functions, which would change all
    /// threads. See setresuid(2).
    pub(super) fn become_it(&self) -> Result<(), Errno> {
        let (uid, gid) = (self.uid, self.gid);
        let ends_with_parent = prctl::get_pdeathsig()?;
        // SAFETY: the list is as long as is said, and lives as long as `self`.
        let set = unsafe {
            libc::syscall(
                libc::SYS_setgroups,
                self.groups.len(),
                self.groups.as_ptr(),
            )
        };
        match done(set) {
            // Where only one id was granted, the kernel lets nobody leave the
            // groups of the caller either. See user_namespaces(7).
            Err(Errno::EPERM) if self.groups.is_empty() => {}
            set => set?,
        }
        // SAFETY: the call takes three integers.
        done(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
        // SAFETY: as above.
        done(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
        // The change of ids has taken back what was asked for, if it was. See
        // prctl(2), PR_SET_PDEATHSIG.
        prctl::set_pdeathsig(ends_with_parent)
    }
}

fn done(returned: c_long) -> Result<(), Errno> {
    Errno::result(returned).map(drop)
}

/// A line of `/etc/group`. See group(5).
struct Group<'a> {
    name: &'a str,
    gid: gid_t,
    members: &'a str,
}

impl Group<'_> {
    fn parse(line: &str) -> Option<Group<'_>> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members, ..] = fields[..] else {
            return None;
        };
        let gid = gid.parse().ok()?;
        Some(Group { name, gid, members })
    }
}

/// A file that the image may have. What is no file there would be waited for, or
/// has no end.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    if let Ok(file) = opened
        && file.metadata().is_ok_and(|it| it.is_file())
    {
        // What can't be read has no users.
        let _ = file.take(SIZE_MAX).read_to_end(&mut bytes);
    }
    text(bytes)
}

/// Checks that the user namespace has this id.
fn expect_mapped(map: &str, id: u32) -> anyhow::Result<()> {
    let path = format!("/proc/self/{map}");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("open({path:?}, O_RDONLY)"))?;
    ensure!(
        has_id(&text, id),
        "this container has no id {id}: see user_namespaces(7), and subuid(5) \
         about who gets more than one"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nann:x:1000:100::/h/ann:\n\
                          odd\n7:x:8:9::/seven:\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nwww:x:33:ann,eve\nodd:x\n";

    fn find(text: &str) -> Option<(u32, u32, Vec<u32>, String)> {
        let found = Account::parse(text, PASSWD, GROUP).ok()?;
        let home = found.home.into_string().expect("text");
        Some((found.uid, found.gid, found.groups, home))
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        let some = |uid, gid, groups: &[u32], home: &str| {
            Some((uid, gid, groups.to_vec(), home.to_owned()))
        };
        assert_eq!(find("ann"), some(1000, 100, &[33], "/h/ann"));
        assert_eq!(find("1000"), some(1000, 100, &[33], "/h/ann"));
        assert_eq!(find("ann:www"), some(1000, 33, &[], "/h/ann"));
        assert_eq!(find("ann:7"), some(1000, 7, &[], "/h/ann"));
        assert_eq!(find("4711"), some(4711, 0, &[], "/"));
        assert_eq!(find("4711:users"), some(4711, 100, &[], "/"));
        // A name comes before a number.
        assert_eq!(find("7"), some(8, 9, &[], "/seven"));
        assert_eq!(find(""), some(0, 0, &[], "/root"));
        assert_eq!(find(":33"), some(0, 33, &[], "/root"));
        assert_eq!(find("ann:"), find("ann"));
        for text in ["bob", "ann:bob", "-1", "4294967296"] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
