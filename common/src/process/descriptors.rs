//! The descriptors that a child of ours has of this program's.

use std::os::fd::RawFd;

use super::gate;
use crate::sys;

/// Closes every descriptor that would be closed at exec, but for `kept` and our
/// end of the gate. These are ours: Rust opens all files so. What this program
/// was given without that mark is left.
///
/// The caller must not use them again: it ends in an exec, or with the
/// container.
///
/// # Errors
/// There is no `/proc` to find them by.
pub fn close_own_descriptors(kept: &[RawFd]) -> anyhow::Result<()> {
    let names = sys::readdir("/proc/self/fd")?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    for number in numbers.filter(|number| *number > libc::STDERR_FILENO) {
        if kept.contains(&number) || gate::childs_end() == Some(number) {
            continue;
        }
        // SAFETY: the call takes integers and changes nothing.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags != -1 && flags & libc::FD_CLOEXEC != 0 {
            // SAFETY: the descriptor is one of this program's, and by the
            // precondition nobody uses it again.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}
