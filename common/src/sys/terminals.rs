//! Terminals. Most of these are calls of the C library, section 3 of the man
//! pages: to the kernel all are ioctl(2).

use std::{
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
};

use libc::c_int;
use nix::{
    fcntl::OFlag,
    pty::{self, PtyMaster},
    sys::termios::{self, FlowArg, SetArg, Termios},
    unistd::{self, Pid},
};

use super::{
    Result,
    argument::{Argument, Word},
    call,
};

/// See tcsetpgrp(3).
#[track_caller]
pub fn tcsetpgrp(fd: impl AsFd, pgrp: Pid) -> Result<()> {
    let fd = fd.as_fd();
    call!(tcsetpgrp(fd, pgrp), unistd::tcsetpgrp(fd, pgrp))
}

/// See tcgetattr(3).
#[track_caller]
pub fn tcgetattr(fd: impl AsFd) -> Result<Termios> {
    let fd = fd.as_fd();
    call!(tcgetattr(fd), termios::tcgetattr(fd))
}

/// See tcsetattr(3).
#[track_caller]
pub fn tcsetattr(
    fd: impl AsFd,
    optional_actions: SetArg,
    termios: &Termios,
) -> Result<()> {
    let fd = fd.as_fd();
    let set = termios::tcsetattr(fd, optional_actions, termios);
    call!(tcsetattr(fd, optional_actions, Word("…".into())), set)
}

/// See tcflow(3).
#[track_caller]
pub fn tcflow(fd: impl AsFd, action: FlowArg) -> Result<()> {
    let fd = fd.as_fd();
    call!(tcflow(fd, action), termios::tcflow(fd, action))
}

/// Their names are those of C.
macro_rules! named_as_in_c {
    ($($kind:ty),*) => {
        $(impl Argument for $kind {
            fn text(&self) -> String {
                format!("{self:?}")
            }
        })*
    };
}

named_as_in_c!(SetArg, FlowArg);

/// Without their texts.
mod raw {
    nix::ioctl_read_bad!(tiocgetd, libc::TIOCGETD, libc::c_int);
    nix::ioctl_write_ptr_bad!(tiocsetd, libc::TIOCSETD, libc::c_int);
    nix::ioctl_none_bad!(tiocnxcl, libc::TIOCNXCL);
}

/// See ioctl_tty(2), `TIOCGETD`: the line discipline.
#[track_caller]
pub fn ioctl_tiocgetd(fd: impl AsFd) -> Result<c_int> {
    let fd = fd.as_fd();
    let mut number = 0;
    // SAFETY: the call writes one int.
    let got = unsafe { raw::tiocgetd(fd.as_raw_fd(), &raw mut number) };
    call!(ioctl(fd, Word("TIOCGETD".into())), got)?;
    Ok(number)
}

/// See ioctl_tty(2), `TIOCSETD`.
#[track_caller]
pub fn ioctl_tiocsetd(fd: impl AsFd, discipline: c_int) -> Result<()> {
    let fd = fd.as_fd();
    // SAFETY: the call reads one int.
    let set = unsafe { raw::tiocsetd(fd.as_raw_fd(), &raw const discipline) };
    call!(
        ioctl(fd, Word("TIOCSETD".into()), Word(format!("[{discipline}]")),),
        set.map(drop)
    )
}

/// See ioctl_tty(2), `TIOCNXCL`: others may open it again.
#[track_caller]
pub fn ioctl_tiocnxcl(fd: impl AsFd) -> Result<()> {
    let fd = fd.as_fd();
    // SAFETY: the call has no argument.
    let done = unsafe { raw::tiocnxcl(fd.as_raw_fd()) };
    call!(ioctl(fd, Word("TIOCNXCL".into())), done.map(drop))
}

/// See posix_openpt(3).
#[track_caller]
pub fn posix_openpt(flags: OFlag) -> Result<PtyMaster> {
    call!(posix_openpt(flags), pty::posix_openpt(flags))
}

/// See grantpt(3).
#[track_caller]
pub fn grantpt(fd: &PtyMaster) -> Result<()> {
    call!(grantpt(fd.as_fd()), pty::grantpt(fd))
}

/// See unlockpt(3).
#[track_caller]
pub fn unlockpt(fd: &PtyMaster) -> Result<()> {
    call!(unlockpt(fd.as_fd()), pty::unlockpt(fd))
}

/// See ptsname(3).
#[track_caller]
pub fn ptsname(fd: &PtyMaster) -> Result<PathBuf> {
    call!(ptsname(fd.as_fd()), pty::ptsname_r(fd).map(PathBuf::from))
}
