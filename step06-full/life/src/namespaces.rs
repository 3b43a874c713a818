//! The namespaces of a container as descriptors, so that others can enter.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context;
use common::sys;
use nix::{fcntl::OFlag, unistd::Pid};

/// The namespaces of a running container. See namespaces(7).
///
/// That of cgroups is not among them: the container makes it later, and whoever
/// joins its cgroups makes the same one by unshare(2).
#[derive(Debug)]
pub struct Namespaces {
    /// To be entered first: it gives the right to enter the others.
    pub user: OwnedFd,
    /// Entered by one's children only.
    pub pid: OwnedFd,
    /// Entering it changes one's root directory as well.
    pub mnt: OwnedFd,
    /// Interfaces, addresses, ports.
    pub net: OwnedFd,
    /// The host name.
    pub uts: OwnedFd,
    /// Message queues and shared memory.
    pub ipc: OwnedFd,
}

/// Their names in `/proc/PID/ns`, in the order in which they are handed over.
const NAMES: [&str; 6] = ["user", "pid", "mnt", "net", "uts", "ipc"];

impl Namespaces {
    /// Opens those of `child`.
    ///
    /// Must run while it waits at its gate. Later it is not dumpable, since it
    /// has changed its user, and a plain user could not open these files any
    /// more. See ptrace(2), "Ptrace access mode checking".
    pub(crate) fn open(child: Pid) -> anyhow::Result<Namespaces> {
        let open = |name: &str| {
            sys::open(format!("/proc/{child}/ns/{name}"), OFlag::O_RDONLY, 0)
        };
        let opened: Result<Vec<OwnedFd>, sys::Error> =
            NAMES.into_iter().map(open).collect();
        let opened = opened.context("opening the container's namespaces")?;
        Namespaces::from_list(opened)
    }

    /// Those that somebody else has opened, in the order of the list.
    pub(crate) fn from_list(list: Vec<OwnedFd>) -> anyhow::Result<Namespaces> {
        let list: [OwnedFd; 6] = list.try_into().ok().with_context(|| {
            format!("these are not {} namespaces", NAMES.len())
        })?;
        let [user, pid, mnt, net, uts, ipc] = list;
        Ok(Namespaces {
            user,
            pid,
            mnt,
            net,
            uts,
            ipc,
        })
    }

    /// All of them, for who goes in.
    pub(crate) fn into_files(self) -> [OwnedFd; 6] {
        [self.user, self.pid, self.mnt, self.net, self.uts, self.ipc]
    }

    /// All of them, in the order of the list.
    pub(crate) fn list(&self) -> [BorrowedFd<'_>; 6] {
        [
            self.user.as_fd(),
            self.pid.as_fd(),
            self.mnt.as_fd(),
            self.net.as_fd(),
            self.uts.as_fd(),
            self.ipc.as_fd(),
        ]
    }
}
