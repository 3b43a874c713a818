//! A process by a descriptor: its number may be used again, this is not.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::c_int;
use nix::{errno::Errno, unistd::Pid};

use super::{Result, argument::Word, call, int, signals};

/// See pidfd_open(2), since Linux 5.3: a descriptor that means this process for
/// ever, also when another one has its number. It can be read from, for poll(2),
/// when the process has ended, and is closed at exec.
///
/// # Errors
/// `ESRCH` when there is no such process.
#[track_caller]
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // The kernel reads longs, and a plain 0 would be passed as an int.
    let (number, flags) = (libc::c_long::from(pid.as_raw()), 0 as libc::c_long);
    // SAFETY: the call takes two numbers.
    let opened = Errno::result(unsafe {
        libc::syscall(libc::SYS_pidfd_open, number, flags)
    });
    let opened = call!(pidfd_open(pid, 0), opened)?;
    // SAFETY: the kernel has just made this descriptor for us, closed at exec.
    Ok(unsafe { OwnedFd::from_raw_fd(int(opened)) })
}

/// See pidfd_send_signal(2), since Linux 5.1.
///
/// # Errors
/// `ESRCH` when the process has ended.
#[track_caller]
pub fn pidfd_send_signal(pidfd: impl AsFd, sig: c_int) -> Result<()> {
    let pidfd = pidfd.as_fd();
    let nothing: libc::c_long = 0;
    // SAFETY: the descriptor is open; without a siginfo_t the kernel makes one
    // as for kill(2).
    let sent = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            libc::c_long::from(pidfd.as_raw_fd()),
            libc::c_long::from(sig),
            nothing,
            nothing,
        )
    });
    let name = Word(signals::name(sig));
    call!(
        pidfd_send_signal(pidfd, name, Word("NULL".into()), 0),
        sent.map(drop)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_never_there_is_its_own_text() {
        let error = pidfd_open(Pid::from_raw(i32::MAX)).expect_err("none");
        let (text, errno) = (error.to_string(), error.errno);
        assert_eq!(text, "pidfd_open(2147483647, 0)");
        assert!([Errno::ESRCH, Errno::EINVAL].contains(&errno), "{errno}");
    }

    #[test]
    fn signal_0_asks_whether_the_process_is_there() {
        let us = pidfd_open(nix::unistd::getpid()).expect("we are");
        pidfd_send_signal(&us, 0).expect("it is ours");
        let error = pidfd_send_signal(&us, 99).expect_err("there is none");
        assert!(error.to_string().ends_with(", 99, NULL, 0)"), "{error}");
        assert_eq!(error.errno, Errno::EINVAL);
    }
}
