//! The descriptors that a child of ours has of this program's.

use std::os::fd::RawFd;

use nix::fcntl::OFlag;

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
    close_all(|number, is_ours| {
        is_ours && !kept.contains(&number) && gate::childs_end() != Some(number)
    })
}

/// Closes every descriptor that this program was given, but for the standard
/// streams: for a process that goes on when its caller has ended, who may wait
/// for the end of a pipe.
///
/// # Errors
/// There is no `/proc` to find them by.
pub fn close_inherited_descriptors() -> anyhow::Result<()> {
    close_all(|_, is_ours| !is_ours)
}

/// Leads `streams`, which are of standard input, output and error, to nobody:
/// what is printed there is lost, and there is nothing to read.
///
/// # Errors
/// There is no `/dev/null`.
pub fn lead_to_null(
    streams: impl IntoIterator<Item = RawFd>,
) -> sys::Result<()> {
    let null = sys::open("/dev/null", OFlag::O_RDWR, 0)?;
    let mut streams = streams.into_iter();
    streams.try_for_each(|stream| sys::dup2_standard(&null, stream))
}

/// Closes the descriptors that are `meant`, by their number and by whether they
/// would be closed at exec.
fn close_all(meant: impl Fn(RawFd, bool) -> bool) -> anyhow::Result<()> {
    let names = sys::readdir("/proc/self/fd")?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    for number in numbers.filter(|number| *number > libc::STDERR_FILENO) {
        // SAFETY: the call takes integers and changes nothing.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags != -1 && meant(number, flags & libc::FD_CLOEXEC != 0) {
            // SAFETY: nobody uses it again: by the caller's promise if it is
            // one of this program's, and otherwise it never did.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}
