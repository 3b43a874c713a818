//! A process that is there for its namespaces only.

use std::ptr;

use anyhow::Context;
use libc::{c_int, c_void};
use nix::{
    errno::Errno,
    sched::CloneFlags,
    sys::{prctl, signal::Signal},
    unistd::{Pid, getpid, getppid, pause},
};

use super::{end, new_process::names};

/// A process that does nothing: a namespace exists as long as a process is in
/// it, and this one is in the new ones that it was created with.
///
/// It ends when this value is dropped, or with us.
pub struct Placeholder {
    pid: Pid,
    /// The process runs on it.
    _stack: Vec<u8>,
}

impl Placeholder {
    /// Creates the process; `namespaces` are the flags for its new ones.
    pub fn new(namespaces: CloneFlags) -> anyhow::Result<Placeholder> {
        let flags = CloneFlags::CLONE_VM | namespaces;
        let mut stack = vec![0; 16 * 1024];
        // SAFETY: the child has a stack of its own, which grows downwards and
        // which we keep for as long as the child lives. It runs in our memory,
        // which saves a copy of it, at the same time as we do; so its function
        // has no closure, touches nothing but its stack, and can't fail in a
        // way that would set errno.
        let pid = unsafe {
            libc::clone(
                outlive,
                stack.as_mut_ptr_range().end.cast(),
                flags.bits() | libc::SIGCHLD,
                ptr::without_provenance_mut(getpid().as_raw() as usize),
            )
        };
        let pid = Errno::result(pid)
            .with_context(|| format!("clone({})", names(flags)))?;
        Ok(Placeholder {
            pid: Pid::from_raw(pid),
            _stack: stack,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

/// What a placeholder does: nothing, until it is killed. `parent` is no pointer,
/// but the process id of its parent.
extern "C" fn outlive(parent: *mut c_void) -> c_int {
    let parent = Pid::from_raw(parent.addr() as i32);
    if prctl::set_pdeathsig(Signal::SIGKILL).is_ok() {
        // A parent that is dead already would send no signal any more.
        while getppid() == parent {
            pause();
        }
    }
    0
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        end(self.pid);
    }
}
