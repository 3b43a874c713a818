//! Namespaces: those that are made, and those that exist and are entered.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::{Context, bail, ensure};
use common::sys;
use nix::{fcntl::OFlag, sched::CloneFlags, unistd::Pid};
use step06_full::enter;

use crate::config::Linux;

/// By the names of the specification.
const KINDS: [(&str, CloneFlags); 8] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("network", CloneFlags::CLONE_NEWNET),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("mount", CloneFlags::CLONE_NEWNS),
    ("time", sys::CLONE_NEWTIME),
];

/// The flag of the namespace that the specification calls `kind`.
pub(crate) fn flag(kind: &str) -> anyhow::Result<CloneFlags> {
    let mut kinds = KINDS.iter();
    let Some((_, flag)) = kinds.find(|(name, _)| *name == kind) else {
        bail!("a namespace of type {kind:?} is not supported");
    };
    Ok(*flag)
}

/// The names of all of them, for `features`.
pub(crate) fn kinds() -> [&'static str; 8] {
    KINDS.map(|(name, _)| name)
}

/// The namespaces of a container to be.
pub(crate) struct Namespaces {
    /// Those that are made.
    pub(crate) new: CloneFlags,
    /// Those that are entered, unless they are ours anyway.
    joined: Option<enter::Namespaces>,
}

impl Namespaces {
    /// Those that the file lists. Those with a path are opened, and found to be
    /// what they are called.
    pub(crate) fn open(linux: &Linux) -> anyhow::Result<Namespaces> {
        let mut new = CloneFlags::empty();
        let mut files = Vec::new();
        for namespace in &linux.namespaces {
            let flag = flag(&namespace.kind)?;
            match namespace.path() {
                None => new |= flag,
                Some(path) => files.push(open(path, flag)?),
            }
        }
        let joined = match files[..] {
            [] => None,
            _ => Some(enter::Namespaces::from_files(files)?),
        };
        Ok(Namespaces { new, joined })
    }

    /// Those of the process `pid`, which `process` holds.
    pub(crate) fn of(
        process: &OwnedFd,
        pid: Pid,
    ) -> anyhow::Result<Namespaces> {
        let joined = Some(enter::Namespaces::of(process, pid)?);
        let new = CloneFlags::empty();
        Ok(Namespaces { new, joined })
    }

    /// Whether there are some to be entered.
    pub(crate) fn has_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// Whether the container's mount namespace is also that of others.
    pub(crate) fn shares_mounts(&self) -> bool {
        !self.new.contains(CloneFlags::CLONE_NEWNS)
    }

    /// Whether the container's user namespace is not ours.
    pub(crate) fn other_user(&self) -> bool {
        let user = CloneFlags::CLONE_NEWUSER;
        let joined = self.joined.as_ref();
        self.new.contains(user) || joined.is_some_and(|it| it.has(user))
    }

    /// Whether, once they are entered, version 2 of cgroups lets no process be
    /// born in a cgroup that is outside of them: its namespace has a border, and
    /// another user's rights end at it.
    pub(crate) fn shut_out(&self) -> bool {
        let shut = [CloneFlags::CLONE_NEWCGROUP, CloneFlags::CLONE_NEWUSER];
        let joined = self.joined.as_ref();
        joined.is_some_and(|it| shut.into_iter().any(|flag| it.has(flag)))
    }

    /// Those that are made together with the process. A cgroup namespace is made
    /// later, when the process is in its cgroup; a time namespace, when its
    /// offsets can be set.
    pub(crate) fn born_with(&self) -> CloneFlags {
        let later = CloneFlags::CLONE_NEWCGROUP | sys::CLONE_NEWTIME;
        self.new.difference(later)
    }

    /// Enters those that exist. The PID namespace is that of children only. From
    /// then on nobody in them gets at this process.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        let Some(joined) = &self.joined else {
            return Ok(());
        };
        joined.enter()?;
        joined.enter_mounts()
    }
}

fn open(path: &str, flag: CloneFlags) -> anyhow::Result<OwnedFd> {
    let open = || -> anyhow::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = sys::open(path, flags, 0)?;
        let kind = sys::ioctl_ns_get_nstype(&file)?;
        ensure!(kind == flag, "it is a namespace of another type");
        Ok(file)
    };
    open().with_context(|| format!("opening the namespace {path:?}"))
}

/// Whether this process is in another namespace of that type than the process
/// behind `ours`, an open file of [`open_ours`].
pub(crate) fn differs(name: &str, ours: &File) -> anyhow::Result<bool> {
    Ok(!is_same(ours, &open_ours(name)?)?)
}

/// Whether both files are of one namespace.
pub(crate) fn is_same(
    one: impl AsFd,
    other: impl AsFd,
) -> anyhow::Result<bool> {
    let (one, other) = (sys::fstat(one)?, sys::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// A namespace of this process, to be compared later.
pub(crate) fn open_ours(name: &str) -> anyhow::Result<File> {
    let path = format!("/proc/self/ns/{name}");
    Ok(sys::open(path, OFlag::O_RDONLY, 0)?.into())
}
