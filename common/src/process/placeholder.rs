//! A process that is there for its namespaces only.

use nix::{
    sched::CloneFlags,
    sys::{prctl, signal::Signal},
    unistd::{ForkResult, Pid, getpid, getppid, pause},
};

use super::{exit, status::end};
use crate::sys;

/// A process that does nothing: a namespace exists as long as a process is in
/// it, and this one is in the new ones that it was created with.
///
/// It ends when this value is dropped, or with us.
pub struct Placeholder {
    pid: Pid,
}

impl Placeholder {
    /// Creates the process; `namespaces` are the flags for its new ones.
    ///
    /// The caller must have only one thread.
    pub fn new(namespaces: CloneFlags) -> anyhow::Result<Placeholder> {
        let parent = getpid();
        // SAFETY: we have one thread, by our own precondition.
        match unsafe { sys::clone(namespaces) }? {
            ForkResult::Child => outlive(parent),
            ForkResult::Parent { child } => Ok(Placeholder { pid: child }),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

/// What a placeholder does: nothing, until it is killed.
fn outlive(parent: Pid) -> ! {
    if prctl::set_pdeathsig(Signal::SIGKILL).is_ok() {
        // A parent that is dead already would send no signal any more.
        while getppid() == parent {
            pause();
        }
    }
    exit(0)
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        end(self.pid);
    }
}
