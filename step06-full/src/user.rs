//! The user namespace: root inside is somebody else outside.
//!
//! A user namespace has a table, `uid_map`, that says which user ids inside
//! stand for which outside, and another for groups. The container's root has
//! every right over what belongs to the container, and over everything else it
//! has the rights of whoever it is outside:
//!
//! - Started by root, the ids 0 to 65535 inside are a range outside that belongs
//!   to nobody. The files of the image belong to the host's root, who is not in
//!   that table, so they would belong to `nobody` inside. Therefore the image
//!   is *id-mapped*: a mount that shows its files with the container's ids. Where
//!   a file system can't do that, there is no container, unless its root may be
//!   the host's.
//! - Started by a plain user, root inside is that user. More ids need the
//!   program `newuidmap`, which gives what `/etc/subuid` grants; without it
//!   there is this one.
//!
//! See user_namespaces(7) and mount_setattr(2), "ID-mapped mounts".

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::{Context, Error};
use common::{
    errors::{self, Advice, pages},
    host::{
        files::write_kernel_file,
        machine,
        subid::{self, Granted, Range},
    },
    process, sys,
};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{resource::Resource, statfs::FsType},
    unistd::{Gid, Pid, Uid, getegid, geteuid},
};
use step05_overlay::OpenLayers;

use crate::{mount_api, volumes::OpenVolume};

/// The file system of pipes that have no name: PIPEFS_MAGIC in linux/magic.h.
const PIPEFS: FsType = FsType(0x5049_5045);

/// The part of the command line about who is who.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Let root in the container be root outside: for an image on a file system
    /// that can't be id-mapped. What gets out of the container is then root
    #[arg(long)]
    pub root_is_root_outside: bool,
}

/// Who is who: the tables of users and of groups.
pub enum Ids {
    /// From 0 on, these ranges of users and of groups: for root.
    Ranges(Range, Range),
    /// Every id stands for itself: for root, if asked for.
    Same,
    /// 0 is the caller, and from 1 on it is what is granted to the caller.
    Own(Option<Granted>),
}

impl Ids {
    /// Decides which ids the container gets.
    ///
    /// Runs in the parent, before the container's process is created. For root
    /// it takes copies of the mounts of the `layers`, which the process inherits.
    ///
    /// # Errors
    /// There is no range of ids for a container of root.
    pub fn choose(
        options: &Options,
        layers: &mut OpenLayers,
    ) -> anyhow::Result<Ids> {
        check_machine()?;
        limit_what_is_counted_together()
            .context("limiting what the container's users may have of ours")?;
        if !geteuid().is_root() {
            let granted = Granted::to_us().unwrap_or_else(|error| {
                say_alone(error);
                None
            });
            return Ok(Ids::Own(granted));
        }
        if options.root_is_root_outside {
            return Ok(Ids::Same);
        }
        let (users, groups) = subid::of_root(|error| errors::warning(&error))?;
        layers.take_mounts(|path| {
            // One mount is enough: overlay sees nothing of those below it.
            Ok(mount_api::copy(path, 0)?)
        })?;
        Ok(Ids::Ranges(users, groups))
    }

    /// Gives `child`, a process in a new user namespace, its ids, and makes the
    /// files of the container belong to them.
    ///
    /// Runs in the parent, before the gate opens: only a process outside the
    /// namespace has the right to map more than one id. See user_namespaces(7),
    /// "Defining user and group ID mappings".
    ///
    /// # Errors
    /// `EINVAL` when a file system can't show its files with other ids.
    pub fn map(
        &self,
        child: Pid,
        layers: &OpenLayers,
        volumes: &[OpenVolume],
    ) -> anyhow::Result<()> {
        self.write(child).context("mapping the container's ids")?;
        let Ids::Ranges(users, groups) = self else {
            return Ok(());
        };
        let path = format!("/proc/{child}/ns/user");
        let namespace = sys::open(path, OFlag::O_RDONLY, 0)?;
        map_layers(layers, &namespace)?;
        map_volumes(volumes, &namespace);
        give_streams(users.first, groups.first);
        Ok(())
    }

    fn write(&self, child: Pid) -> anyhow::Result<()> {
        let (users, groups) = match self {
            Ids::Ranges(users, groups) => (from_0_on(users), from_0_on(groups)),
            Ids::Same => (same("uid_map")?, same("gid_map")?),
            Ids::Own(granted) => return write_own(child, granted.as_ref()),
        };
        write(child, "uid_map", &users)?;
        Ok(write(child, "gid_map", &groups)?)
    }

    /// Becomes root of the user namespace.
    ///
    /// Runs in the child, as soon as its cgroup is joined: until now its ids are
    /// those of the parent, which may not even be in the table.
    pub fn become_root(&self) -> anyhow::Result<()> {
        let become_root = || {
            leave_groups()?;
            let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
            sys::setresgid(gid, gid, gid)?;
            sys::setresuid(uid, uid, uid)?;
            // The change of ids has undone it.
            process::die_with_parent()
        };
        become_root().context("becoming root of the user namespace")
    }
}

/// Checks what would otherwise fail later, and say something else.
///
/// # Errors
/// `/proc` is that of another PID namespace, so that the child's table of ids
/// would be another process's; or we are nobody in this user namespace.
fn check_machine() -> anyhow::Result<()> {
    let advice = |cause: &str, fix: &str| Advice {
        cause: cause.into(),
        fix: fix.into(),
        page: pages::USER.to_string(),
    };
    machine::check_proc().map_err(|error| {
        error.context(advice(
            "no process can be found there by its number",
            "mount one of this PID namespace, as `unshare --mount-proc` does",
        ))
    })?;
    if geteuid().is_root() {
        return Ok(());
    }
    machine::check_ids().map_err(|error| {
        error.context(advice(
            "the kernel makes no user namespace for who is nobody in this one",
            "map an id, as `unshare --map-root-user` does",
        ))
    })
}

/// Lowers two limits of this process, which waits from now on and needs little.
///
/// Some things the kernel counts for the users of a user namespace and, together
/// with these, for the user who has made it: up to the limit that this one had
/// then. With the usual limits a container could have all the signals that may
/// wait to be taken, and all the message queues, of its user outside. See
/// getrlimit(2), RLIMIT_SIGPENDING and RLIMIT_MSGQUEUE.
fn limit_what_is_counted_together() -> sys::Result<()> {
    for limit in [Resource::RLIMIT_SIGPENDING, Resource::RLIMIT_MSGQUEUE] {
        let (soft, hard) = sys::getrlimit(limit)?;
        let less = (hard / 2).min(soft);
        sys::setrlimit(limit, less, hard)?;
    }
    Ok(())
}

/// Makes the files of the layers belong to the container's ids. The child has
/// inherited these mounts, and will make one root file system of them.
fn map_layers(layers: &OpenLayers, namespace: &OwnedFd) -> anyhow::Result<()> {
    for (path, mount) in layers.mounts() {
        mount_api::map_ids(mount, namespace).with_context(|| {
            format!("giving {path:?} to the container's root")
        })?;
    }
    Ok(())
}

/// Makes the files of the volumes belong to the container's ids, where their
/// file systems can do that. Elsewhere they belong to nobody inside, who may do
/// less with them and not more: it is told, and no error.
fn map_volumes(volumes: &[OpenVolume], namespace: &OwnedFd) {
    for volume in volumes {
        let Some(mount) = &volume.mount else { continue };
        if let Err(error) = mount_api::map_ids(mount, namespace) {
            let source = &volume.volume.source;
            errors::warning(&Error::from(error).context(format!(
                "files in {source:?} belong to nobody in the container"
            )));
        }
    }
}

/// The same for who comes later, to the container of the process `pid`: what of
/// our standard input, output and error is a pipe becomes its root's. Must come
/// before the namespaces are entered.
///
/// # Errors
/// The tables of the process can't be read.
pub fn give_streams_to_root_of(pid: Pid) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        // It is our own container, and its root is who we are.
        return Ok(());
    }
    let root_of = |table: &str| {
        let path = format!("/proc/{pid}/{table}");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("reading {path:?}"))?;
        let outside = text.split_whitespace().nth(1);
        let id = outside.and_then(|it| it.parse().ok());
        id.with_context(|| format!("{path:?} is empty"))
    };
    give_streams(root_of("uid_map")?, root_of("gid_map")?);
    Ok(())
}

fn give_streams(uid: u32, gid: u32) {
    if let Err(error) = give_pipes(uid, gid) {
        // A root without CAP_CHOWN. The container is no less closed.
        errors::warning(
            &Error::from(error).context(
                "the container can't open /dev/stdin, stdout or stderr",
            ),
        );
    }
}

/// Makes the pipes among standard input, output and error those of the
/// container's root: otherwise they belong to the host's, and to open
/// `/dev/stdout` is `EACCES`.
///
/// Only pipes without a name: whatever has one (a file, a terminal,
/// `/dev/null`) others use as well, and it stays whose it is.
fn give_pipes(uid: u32, gid: u32) -> sys::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    for stream in sys::standard_streams() {
        if is_pipe(stream)? {
            sys::fchown(stream, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

/// Whether it is a pipe without a name.
pub fn is_pipe(file: impl AsFd) -> sys::Result<bool> {
    Ok(sys::fstatfs(file)?.filesystem_type() == PIPEFS)
}

/// A line of a table: the first id inside, the first outside, their number.
fn from_0_on(range: &Range) -> String {
    format!("0 {} {}", range.first, range.count)
}

/// The table `file` in which every id that exists here stands for itself.
fn same(file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/self/{file}");
    let ours = fs::read_to_string(&path)
        .with_context(|| format!("reading {path:?}"))?;
    let fields: Vec<&str> = ours.split_whitespace().collect();
    let lines = fields
        .chunks_exact(3)
        .map(|line| format!("{0} {0} {1}", line[0], line[2]));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The tables of a plain user's container. What is granted, others write; if
/// they refuse, the caller's own ids are left.
fn write_own(child: Pid, granted: Option<&Granted>) -> anyhow::Result<()> {
    let Some(granted) = granted else {
        return Ok(write_alone(child)?);
    };
    if let Err(error) = granted.map_groups(child) {
        say_alone(error);
        return Ok(write_alone(child)?);
    }
    // A table is written once: that of the groups is.
    granted.map_users(child).or_else(|error| {
        say_alone(error);
        Ok(write_own_user(child)?)
    })
}

fn write_alone(child: Pid) -> sys::Result<()> {
    // Without this a plain user may not map a group: to drop one could open
    // what is closed to just that group.
    write(child, "setgroups", "deny")?;
    write(child, "gid_map", &format!("0 {} 1", getegid()))?;
    write_own_user(child)
}

fn write_own_user(child: Pid) -> sys::Result<()> {
    write(child, "uid_map", &format!("0 {} 1", geteuid()))
}

/// Nothing is less isolated then: the container is as if nothing were granted.
fn say_alone(error: Error) {
    errors::warning(&error.context("root is the only user in the container"));
}

/// Leaves the groups of the caller, who may be in more than the one that is in
/// the table. Where others are not granted, the kernel refuses that. See
/// user_namespaces(7), on `/proc/PID/setgroups`.
fn leave_groups() -> sys::Result<()> {
    let may_not_leave =
        || fs::read("/proc/self/setgroups").is_ok_and(|text| text == b"deny\n");
    match sys::setgroups(&[]) {
        Err(error) if error.errno == Errno::EPERM && may_not_leave() => Ok(()),
        result => result,
    }
}

fn write(child: Pid, file: &str, text: &str) -> sys::Result<()> {
    write_kernel_file(format!("/proc/{child}/{file}"), text)
}
