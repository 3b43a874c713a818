//! Before one enters: what one does inside is to be counted there.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use anyhow::Context;
use common::{
    host::{
        cgroups::{Hierarchy, Layout, Version},
        files::file_type,
        paths::open_directory,
    },
    sys,
};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{resource::Resource, stat::SFlag},
    unistd::{Pid, geteuid},
};

/// Of the `entrances` to a cgroup that somebody else has opened, the one of
/// version 2: who enters is to be born there. See CLONE_INTO_CGROUP in clone(2).
///
/// [`NewProcess::cgroup`]: common::NewProcess::cgroup
pub fn born_in(entrances: &[OwnedFd]) -> sys::Result<Option<BorrowedFd<'_>>> {
    for entrance in entrances {
        if is_directory(entrance)? {
            return Ok(Some(entrance.as_fd()));
        }
    }
    Ok(None)
}

/// The entrances to the cgroups of the process `pid`, the container's first,
/// that limit nothing, where we are in others: as far as they are open to us.
/// `known` are those that do. Who stays where they were could be told apart by
/// it, and sees the name of that place.
pub fn other_entrances(pid: Pid, known: &[PathBuf]) -> Vec<OwnedFd> {
    let layouts = (Layout::read(), Layout::of(&pid.to_string()));
    let (Ok(ours), Ok(theirs)) = layouts else {
        return Vec::new();
    };
    let ours: Vec<_> = ours.trees().into_iter().map(|it| it.1.own).collect();
    let theirs = theirs.trees().into_iter().map(|it| it.1);
    let others = theirs.filter(|it| {
        let is_new = |list: &[PathBuf]| !list.contains(&it.own);
        is_new(&ours) && is_new(known)
    });
    let entrance = |tree: Hierarchy| match tree.version {
        Version::V1 => {
            sys::open(tree.own.join("tasks"), OFlag::O_WRONLY, 0).ok()
        }
        // Others are born only in what was delegated to them, and that limits.
        Version::V2 if geteuid().is_root() => open_directory(&tree.own).ok(),
        Version::V2 => None,
    };
    others.filter_map(entrance).collect()
}

/// Joins the cgroups of version 1: of these an entrance is the file `tasks`.
///
/// Must come before the namespaces, and before there is anything that should be
/// counted.
pub fn join_cgroups(entrances: &[OwnedFd]) -> anyhow::Result<()> {
    for entrance in entrances {
        if !is_directory(entrance)? {
            sys::write(entrance, "0").context("joining the cgroup")?;
        }
    }
    Ok(())
}

fn is_directory(file: &OwnedFd) -> sys::Result<bool> {
    Ok(file_type(&sys::fstat(file)?) == SFlag::S_IFDIR)
}

/// Takes on the limits of the process `pid`, the container's first: ours may be
/// those of another login.
///
/// Must come before the namespaces: only the host's root may raise a limit. See
/// prlimit(2).
pub fn take_limits_of(pid: Pid) -> anyhow::Result<()> {
    for resource in LIMITS {
        let (soft, hard) = sys::prlimit(pid, resource)?;
        match sys::setrlimit(resource, soft, hard) {
            // Then ours are lower, and less is no danger.
            Err(error) if error.errno == Errno::EPERM => {
                let (_, ours) = sys::getrlimit(resource)?;
                let hard = hard.min(ours);
                sys::setrlimit(resource, soft.min(hard), hard)?;
            }
            set => set?,
        }
    }
    Ok(())
}

/// All that there are. See getrlimit(2).
const LIMITS: [Resource; 16] = [
    Resource::RLIMIT_AS,
    Resource::RLIMIT_CORE,
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_LOCKS,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_MSGQUEUE,
    Resource::RLIMIT_NICE,
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_RSS,
    Resource::RLIMIT_RTPRIO,
    Resource::RLIMIT_RTTIME,
    Resource::RLIMIT_SIGPENDING,
    Resource::RLIMIT_STACK,
];
