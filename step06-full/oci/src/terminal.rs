//! The terminal of a process: one of the container's own `/dev/pts`, the master
//! of which its caller gets through a socket.

use std::{
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::Path,
};

use anyhow::{Context, ensure};
use common::sys;
use nix::{fcntl::OFlag, sys::statfs::FsType, unistd::Uid};
use step06_full::{mount_api, volumes::open_or_create};

use crate::config::Process;

/// DEVPTS_SUPER_MAGIC in linux/magic.h.
const DEVPTS: FsType = FsType(0x1cd1);

/// Connects to the socket `path`. Outside: the container has no such path.
pub(crate) fn connect(path: &Path) -> anyhow::Result<UnixStream> {
    UnixStream::connect(path)
        .with_context(|| format!("connecting to the console socket {path:?}"))
}

/// Makes the terminal, hands its master to `socket`, and makes it this session's
/// own and its standard input, output and error. In the container, where this
/// process leads a session that has none. With `console` it is `/dev/console`,
/// too.
pub(crate) fn make(
    socket: &UnixStream,
    process: &Process,
    console: bool,
) -> anyhow::Result<()> {
    make_terminal(socket, process, console).context("making the terminal")
}

fn make_terminal(
    socket: &UnixStream,
    process: &Process,
    console: bool,
) -> anyhow::Result<()> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let master = sys::posix_openpt(flags | OFlag::O_CLOEXEC)?;
    ensure!(
        sys::fstatfs(&master)?.filesystem_type() == DEVPTS,
        "/dev/ptmx leads to no terminals of the container's own"
    );
    sys::unlockpt(&master)?;
    let name = sys::ptsname(&master)?;
    // By the master, and not by a path that the image could have changed.
    let slave = sys::ioctl_tiocgptpeer(&master, flags)?;
    if let Some(size) = &process.console_size {
        sys::ioctl_tiocswinsz(&slave, size.height, size.width)?;
    }
    let owner = Uid::from_raw(process.user.uid);
    sys::fchown(&slave, Some(owner), None)?;
    if console {
        let place = Path::new("/dev/console");
        let place = open_or_create(Path::new("/"), place, false)?;
        let terminal = mount_api::copy(&name, 0)?;
        mount_api::attach(terminal, place)?;
    }
    let text = name.as_os_str().as_bytes();
    sys::sendmsg_with_fds(socket, text, &[master.as_fd()])?;
    sys::ioctl_tiocsctty(&slave)?;
    for number in 0..=libc::STDERR_FILENO {
        sys::dup2_standard(&slave, number)?;
    }
    Ok(())
}
