//! Terminals. Most of these are calls of the C library, section 3 of the man
//! pages: to the kernel all are ioctl(2).

use std::{
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
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
    nix::ioctl_write_int_bad!(tiocsctty, libc::TIOCSCTTY);
    nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, libc::winsize);
    nix::ioctl_read_bad!(tiocgwinsz, libc::TIOCGWINSZ, libc::winsize);
    nix::ioctl_write_ptr_bad!(tiocsptlck, libc::TIOCSPTLCK, libc::c_int);
    nix::ioctl_write_int_bad!(tiocgptpeer, libc::TIOCGPTPEER);
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

/// See ioctl_tty(2), `TIOCSCTTY`: makes `fd` the controlling terminal of this
/// session, which has none.
#[track_caller]
pub fn ioctl_tiocsctty(fd: impl AsFd) -> Result<()> {
    let fd = fd.as_fd();
    // SAFETY: the argument is a number, and 0 takes it from nobody.
    let done = unsafe { raw::tiocsctty(fd.as_raw_fd(), 0) };
    call!(ioctl(fd, Word("TIOCSCTTY".into()), 0), done.map(drop))
}

/// See ioctl_tty(2), `TIOCSWINSZ`: how large the window is, in characters.
#[track_caller]
pub fn ioctl_tiocswinsz(fd: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let fd = fd.as_fd();
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the call reads one such structure.
    let set = unsafe { raw::tiocswinsz(fd.as_raw_fd(), &raw const size) };
    let size = format!("{{ws_row={rows}, ws_col={columns}, ...}}");
    call!(
        ioctl(fd, Word("TIOCSWINSZ".into()), Word(size)),
        set.map(drop)
    )
}

/// See ioctl_tty(2), `TIOCGWINSZ`: how large the window is, rows and columns.
#[track_caller]
pub fn ioctl_tiocgwinsz(fd: impl AsFd) -> Result<(u16, u16)> {
    let fd = fd.as_fd();
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the call writes one such structure.
    let got = unsafe { raw::tiocgwinsz(fd.as_raw_fd(), &raw mut size) };
    call!(ioctl(fd, Word("TIOCGWINSZ".into())), got)?;
    Ok((size.ws_row, size.ws_col))
}

/// See ioctl_tty(2), `TIOCSPTLCK`: with 0, the other side of the pseudoterminal
/// can be opened. It is what unlockpt(3) does.
#[track_caller]
pub fn ioctl_tiocsptlck(fd: impl AsFd, locked: c_int) -> Result<()> {
    let fd = fd.as_fd();
    // SAFETY: the call reads one int.
    let done = unsafe { raw::tiocsptlck(fd.as_raw_fd(), &raw const locked) };
    call!(
        ioctl(fd, Word("TIOCSPTLCK".into()), Word(format!("[{locked}]"))),
        done.map(drop)
    )
}

/// See ioctl_tty(2), `TIOCGPTPEER`, since Linux 4.13: opens the other side of a
/// pseudoterminal, of which `fd` is the master, and asks no path where it is. It
/// is closed at exec.
///
/// # Errors
/// `EIO` while it is locked. See unlockpt(3).
#[track_caller]
pub fn ioctl_tiocgptpeer(fd: impl AsFd, flags: OFlag) -> Result<OwnedFd> {
    let (fd, flags) = (fd.as_fd(), flags | OFlag::O_CLOEXEC);
    // SAFETY: the call takes flags of open(2).
    let opened = unsafe { raw::tiocgptpeer(fd.as_raw_fd(), flags.bits()) };
    let number = call!(ioctl(fd, Word("TIOCGPTPEER".into()), flags), opened)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
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
