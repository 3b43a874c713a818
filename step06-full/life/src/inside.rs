//! Work on the files of a running container, as its root.
//!
//! From outside, its links would lead to the host's files. So the work is done
//! by a process that enters: what it opens is then what the container would
//! open. It executes nothing of what is there, and shows itself to nobody: it
//! does not enter the PID namespace.

use anyhow::Context;
use common::{
    process::{self, die_with_parent, exit},
    sys,
};
use nix::{
    sched::CloneFlags,
    sys::prctl,
    unistd::{Gid, Pid, Uid},
};

use crate::{Container, Namespaces};

impl Container {
    /// Starts a process that does `work` with the container's root as `/`. Its
    /// exit code is 0 if that has gone well; otherwise it says why.
    ///
    /// The caller must have one thread.
    ///
    /// # Errors
    /// It is not running.
    pub fn inside(
        &self,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Pid> {
        let namespaces = self.namespaces()?;
        process::fork(|| {
            die_with_parent()?;
            enter(&namespaces).context("entering the container")?;
            work()?;
            exit(0)
        })
    }
}

fn enter(namespaces: &Namespaces) -> anyhow::Result<()> {
    // From before the first of them: who has entered could be looked into.
    prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE, 0)")?;
    sys::setns(&namespaces.user, CloneFlags::CLONE_NEWUSER)?;
    sys::setns(&namespaces.mnt, CloneFlags::CLONE_NEWNS)?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    sys::setresgid(gid, gid, gid)?;
    sys::setresuid(uid, uid, uid)?;
    sys::umask(0o022);
    // The change of ids has undone it.
    die_with_parent()
}
