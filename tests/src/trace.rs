//! Holding back a process at its birth, as a debugger does. See ptrace(2).
//!
//! All of it must be called by one thread.
#![allow(unsafe_code)]

use libc::{c_int, c_long, c_uint, c_ulong};
use nix::errno::Errno;

use crate::skip;

/// From now on the process `pid`, a child of ours, stops when it forks.
pub fn watch(pid: i32) {
    match ptrace(libc::PTRACE_SEIZE, pid, libc::PTRACE_O_TRACEFORK) {
        Err(Errno::EPERM) => skip("needs a kernel that lets us trace"),
        seized => seized.expect("it is our child"),
    }
}

/// Waits until the process `pid` forks, lets it go on, and holds its child, which
/// has done nothing yet. Returns the child's number.
pub fn hold_child(pid: i32) -> i32 {
    assert_eq!(wait_for_stop(pid), libc::PTRACE_EVENT_FORK);
    let mut child: c_ulong = 0;
    // SAFETY: this request stores one long.
    let result = unsafe {
        libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, 0, &raw mut child)
    };
    Errno::result(result).expect("it has stopped");
    let child = child.try_into().expect("the number of a process");
    wait_for_stop(child);
    ptrace(libc::PTRACE_CONT, pid, 0).expect("it has stopped");
    child
}

/// Lets the process `pid`, which is held, go its way.
pub fn let_go(pid: i32) {
    ptrace(libc::PTRACE_DETACH, pid, 0).expect("it has stopped");
}

/// Waits until the process `pid` has stopped, and returns the event.
fn wait_for_stop(pid: i32) -> c_int {
    let mut status = 0;
    // SAFETY: the call fills an integer.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    assert_eq!(Errno::result(waited), Ok(pid));
    assert!(libc::WIFSTOPPED(status), "status {status:#x}");
    status >> 16
}

/// For requests whose last argument is a number.
fn ptrace(request: c_uint, pid: i32, data: c_int) -> nix::Result<()> {
    let (address, data): (c_long, c_long) = (0, data.into());
    // SAFETY: of none of our requests an argument is a pointer.
    let result = unsafe { libc::ptrace(request, pid, address, data) };
    Errno::result(result).map(drop)
}
