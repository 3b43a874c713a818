//! Entering a container that runs: its namespaces as files.
//!
//! A namespace has no name. It is there as long as a process is in it, or
//! somebody holds it open: `/proc/PID/ns/` has a file for each that the process
//! is in, and setns(2) takes such a file and makes its namespace ours. So a
//! second command gets into a container without help of the first.
//!
//! To enter is a moment of danger: a process of ours, with descriptors, memory
//! and a program file of the host's, stands in sight of those inside. Hence the
//! order of things here, and the rules for whoever uses this:
//!
//! - the container's cgroup first ([`join_cgroups`]): later we have no right to
//!   it any more;
//! - then [`Namespaces::enter`]; from here on nobody inside can look into us.
//!   Where `/proc` is still the host's, become root of the user namespace and
//!   leave behind what was inherited, as in [`run`](crate);
//! - then [`Namespaces::enter_mounts`]: each path is the container's now;
//! - then privileges, Landlock and the filter, by the same functions as always;
//! - then fork(2): what enters a PID namespace are our children. The child has
//!   nothing left to lose when it is seen for the first time.
//!
//! See setns(2), namespaces(7), ioctl_ns(2).

mod counted;
mod deputy;

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use anyhow::Context;
use common::{process, sys};
use nix::{errno::Errno, fcntl::OFlag, sched::CloneFlags, unistd::Pid};

pub use counted::{born_in, join_cgroups, other_entrances, take_limits_of};
pub use deputy::stand_for;

/// The kinds, as `/proc/PID/ns` calls them, in the order in which they are
/// entered.
const KINDS: [(&str, CloneFlags); 8] = [
    // It gives the right to enter the others.
    ("user", CloneFlags::CLONE_NEWUSER),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("net", CloneFlags::CLONE_NEWNET),
    // Ours has none; a runtime's containers may.
    ("time", sys::CLONE_NEWTIME),
    // Only for the children that we have from then on.
    ("pid", CloneFlags::CLONE_NEWPID),
    // It brings another root, another working directory, another `/proc`.
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// A container's namespaces, held open. They are those that we are not in.
pub struct Namespaces {
    files: Vec<(CloneFlags, OwnedFd)>,
}

impl Namespaces {
    /// Opens those of the process `pid`, which `pidfd` holds.
    ///
    /// For a plain user it must be a container's process that still waits at
    /// its gate: later it is not dumpable, and the files can't be opened. What
    /// was opened then stays good. Its cgroup namespace is not made by then.
    ///
    /// # Errors
    /// `EACCES` where we have no right to look into the process; `ESRCH` when
    /// it has ended, and `ENOENT` when its first thread has. See ptrace(2), "Ptrace access mode checking".
    pub fn of(pidfd: impl AsFd, pid: Pid) -> anyhow::Result<Namespaces> {
        let open = || {
            let mut files = Vec::new();
            for (name, flag) in KINDS {
                let path = format!("/proc/{pid}/ns/{name}");
                match sys::open(path, OFlag::O_RDONLY, 0) {
                    // This kernel has no such kind. But a process whose first
                    // thread has ended has none either, and to leave one out
                    // would be to stay in the host's.
                    Err(error)
                        if error.errno == Errno::ENOENT && !is_known(name) => {}
                    file => files.push((flag, file?)),
                }
            }
            // A number is used again, and those files may be of somebody else:
            // not if the process has lived until now.
            sys::pidfd_send_signal(pidfd, 0)?;
            Namespaces::but_our_own(files)
        };
        open().context("opening the container's namespaces")
    }

    /// Takes such files, in any order: the kernel says of what kind each is.
    ///
    /// # Errors
    /// `ENOTTY` for a file that is no namespace.
    pub fn from_files(
        files: impl IntoIterator<Item = OwnedFd>,
    ) -> anyhow::Result<Namespaces> {
        let mut known = Vec::new();
        for file in files {
            known.push((sys::ioctl_ns_get_nstype(&file)?, file));
        }
        Namespaces::but_our_own(known)
    }

    /// To enter where one is already is `EINVAL` for a user namespace, and
    /// nothing for the others.
    fn but_our_own(
        mut files: Vec<(CloneFlags, OwnedFd)>,
    ) -> anyhow::Result<Namespaces> {
        let mut own = Vec::new();
        for (name, _) in KINDS {
            let path = format!("/proc/self/ns/{name}");
            own.extend(sys::open(path, OFlag::O_RDONLY, 0).ok());
        }
        let own: Vec<_> = own.iter().map(identity).collect::<Result<_, _>>()?;
        let mut identities = Vec::new();
        for (_, file) in &files {
            identities.push(identity(file)?);
        }
        let mut identities = identities.into_iter();
        files
            .retain(|_| !identities.next().is_some_and(|it| own.contains(&it)));
        Ok(Namespaces { files })
    }

    /// The files, for somebody else. See [`Namespaces::from_files`].
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files.iter().map(|(_, file)| file.as_fd())
    }

    /// Whether one of this kind is among them.
    pub fn has(&self, kind: CloneFlags) -> bool {
        self.files.iter().any(|(flag, _)| *flag == kind)
    }

    /// Enters all but the mount namespace.
    ///
    /// From then on this process has the rights of the user namespace's creator
    /// there, and none on the host; its children are born in the PID namespace.
    /// It must have one thread. See setns(2).
    ///
    /// # Errors
    /// `EPERM` where a namespace belongs to somebody else.
    pub fn enter(&self) -> anyhow::Result<()> {
        let enter = || {
            // Before there is anything inside that could be looked into: our
            // memory, our descriptors, our program's file. CVE-2016-9962 and
            // CVE-2019-5736 were found by who looked in time. See prctl(2).
            sys::prctl(sys::PR_SET_DUMPABLE, 0)?;
            for (flag, file) in self.in_order()? {
                sys::setns(file, flag)?;
            }
            // New rights have set it to what fs.suid_dumpable says, which may
            // be 2: then the memory is written into a file of root's, if this
            // process crashes. See proc(5).
            sys::prctl(sys::PR_SET_DUMPABLE, 0)?;
            // And they have taken back the wish to end with our parent.
            process::die_with_parent()
        };
        enter().context("entering the container's namespaces")
    }

    /// Enters the mount namespace, the last of them: its root is ours, and what
    /// was open as working directory is not ours any more.
    ///
    /// The `/proc` there knows nothing of us, who are not in its PID namespace:
    /// what needs `/proc/self` comes before, or in a child.
    pub fn enter_mounts(&self) -> anyhow::Result<()> {
        let mount = CloneFlags::CLONE_NEWNS;
        for (_, file) in self.files.iter().filter(|(flag, _)| *flag == mount) {
            sys::setns(file, mount)
                .context("entering the container's file system")?;
        }
        Ok(())
    }

    /// All but the mount namespace, in the order that rights want: what belongs
    /// to another user namespace than the container's own, such as the network
    /// of somebody else, can be entered only before that one.
    fn in_order(&self) -> anyhow::Result<Vec<(CloneFlags, &OwnedFd)>> {
        let user = self.files.iter().find(|(it, _)| *it == KINDS[0].1);
        let user = user.map(|(_, file)| identity(file)).transpose()?;
        let mut before = Vec::new();
        let mut inside = Vec::new();
        for (_, kind) in KINDS {
            let mut files = self.files.iter();
            let Some((_, file)) = files.find(|(flag, _)| *flag == kind) else {
                continue;
            };
            match kind {
                CloneFlags::CLONE_NEWNS => {}
                CloneFlags::CLONE_NEWUSER => inside.push((kind, file)),
                _ if owner(file)? == user => inside.push((kind, file)),
                _ => before.push((kind, file)),
            }
        }
        before.extend(inside);
        Ok(before)
    }
}

/// Whether this kernel has namespaces of that kind.
fn is_known(name: &str) -> bool {
    Path::new("/proc/self/ns").join(name).exists()
}

/// What tells one file from all others: its file system, and its number there.
type Identity = (u64, u64);

fn identity(file: impl AsFd) -> sys::Result<Identity> {
    let status = sys::fstat(file)?;
    Ok((status.st_dev, status.st_ino))
}

/// The user namespace that `file` belongs to, if we may know.
fn owner(file: &OwnedFd) -> sys::Result<Option<Identity>> {
    match sys::ioctl_ns_get_userns(file) {
        Err(error) if error.errno == Errno::EPERM => Ok(None),
        owner => identity(owner?).map(Some),
    }
}
