//! A terminal of the container's own.
//!
//! A pseudoterminal has two sides: what is written to the *master*, the other
//! side reads as if it were typed, and the master reads what is printed. Whoever
//! keeps the master is the screen and the keyboard. Made in the `/dev/pts` of
//! the container, the other side has a name there, so that tty(1) answers, and
//! nothing that the container does to it reaches the terminal of whoever has
//! started it. See pty(7), pts(4).

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, ensure};
use common::sys;
use nix::{
    fcntl::{AT_FDCWD, OFlag, ResolveFlag},
    libc,
    sys::{stat::makedev, statfs::FsType},
    unistd::{Uid, getpid, getsid},
};

/// Both sides.
pub struct Terminal {
    /// For who stays outside.
    pub master: OwnedFd,
    /// For the container.
    pub inside: OwnedFd,
}

/// Where terminals are made, in the container.
const PTMX: &str = "/dev/pts/ptmx";

/// The file system there: DEVPTS_SUPER_MAGIC in linux/magic.h.
const DEVPTS: FsType = FsType(0x1cd1);

impl Terminal {
    /// Makes one.
    ///
    /// Must run when the root is the container's, by its root. Those inside may
    /// have been there before: so it follows no link, looks at what it has found,
    /// and asks for the other side not by a path, but by the descriptor.
    ///
    /// # Errors
    /// Something else is there.
    pub fn open() -> anyhow::Result<Terminal> {
        let open = || {
            let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
            let no_links = ResolveFlag::RESOLVE_NO_SYMLINKS;
            // The device of this number makes a terminal when it is opened, and
            // another one may do something else: a look first.
            let path = OFlag::O_PATH;
            let found = sys::openat2(AT_FDCWD, PTMX, path, no_links)?;
            check(&found)?;
            let master = sys::openat2(AT_FDCWD, PTMX, flags, no_links)?;
            check(&master)?;
            sys::ioctl_tiocsptlck(&master, 0)?;
            let inside = sys::ioctl_tiocgptpeer(&master, flags)?;
            anyhow::Ok(Terminal { master, inside })
        };
        open().context("making a terminal for the container")
    }
}

/// Gives the terminal that is standard input to `user` of the container, who
/// otherwise could not open it once more, as many programs do: `/dev/stderr`, for
/// example.
pub fn give_to(user: Option<Uid>) -> sys::Result<()> {
    let [stdin, ..] = sys::standard_streams();
    user.map_or(Ok(()), |user| sys::fchown(stdin, Some(user), None))
}

/// Checks that it is what makes terminals.
fn check(file: &OwnedFd) -> anyhow::Result<()> {
    let status = sys::fstat(file)?;
    let is_ptmx = status.st_rdev == makedev(5, 2)
        && sys::fstatfs(file)?.filesystem_type() == DEVPTS;
    ensure!(is_ptmx, "{PTMX} in the container is something else");
    Ok(())
}

/// Makes the side `inside` standard input, output and error.
pub fn use_for_streams(inside: impl AsFd) -> sys::Result<()> {
    for stream in libc::STDIN_FILENO..=libc::STDERR_FILENO {
        sys::dup2_standard(&inside, stream)?;
    }
    Ok(())
}

/// Begins a session, if this process does not lead one, with standard input as
/// its terminal: what is typed there reaches it as a signal, and `/dev/tty` means
/// it. See credentials(7).
pub fn lead_session() -> anyhow::Result<()> {
    if getsid(None) != Ok(getpid()) {
        sys::setsid()?;
    }
    let [stdin, ..] = sys::standard_streams();
    Ok(sys::ioctl_tiocsctty(stdin)?)
}
