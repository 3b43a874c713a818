//! The gate: holds a new process until everything is prepared for it, and tells
//! it later whether its parent is still alive.
//!
//! It is a pair of connected sockets. The parent keeps its end for its whole
//! life, so a hang-up means that the parent is dead. A pipe with a byte in it
//! would not do: the byte survives a parent that died before the child could
//! ask to be killed along with it.
//!
//! A descriptor can be given away: who gets the parent's end decides from then
//! on whether the gate is opened.

use std::{
    io::Read,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::OnceLock,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::{
        signal::Signal,
        socket::{MsgFlags, SockType},
    },
    unistd::{Pid, getpid, getppid},
};

use super::exit;
use crate::{errors::FAILED, sys};

/// What the child tells the parent, each by one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum News {
    /// The command was stopped (Ctrl-Z).
    Stopped = b'z',
    /// Ctrl-C was pressed at the terminal that the container has.
    CtrlC = b'c',
    /// The command was killed by SIGINT.
    EndedByInterrupt = b'i',
}

/// Whose end is the end of the container's process, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndsWith {
    /// That of the process which creates it, however it ends: a container that
    /// was started at a terminal leaves nothing behind.
    #[default]
    Creator,
    /// Nobody's: it goes on until its own end. Only if nobody is left who could
    /// open its gate, it ends there.
    Nobody,
}

/// The parent's end.
///
/// It can be turned into a descriptor and back, so that another process may
/// have it: one that was forked meanwhile, or that got it through a socket. See
/// unix(7), `SCM_RIGHTS`.
#[derive(Debug)]
pub struct Gate(UnixStream);

impl From<Gate> for OwnedFd {
    fn from(Gate(end): Gate) -> OwnedFd {
        end.into()
    }
}

impl From<OwnedFd> for Gate {
    fn from(end: OwnedFd) -> Gate {
        Gate(end.into())
    }
}

/// The child's end, and what it means when the other one is closed; set once, in
/// the child.
static CHILDS_END: OnceLock<(UnixStream, EndsWith)> = OnceLock::new();

/// Makes a closed gate: the parent's end and the child's. Both are closed on
/// exec.
pub(super) fn new() -> anyhow::Result<(Gate, UnixStream)> {
    let (parent, child) = sys::socketpair(SockType::Stream)?;
    Ok((parent.into(), child.into()))
}

impl Gate {
    /// Lets the child go on.
    pub fn open(&self) -> anyhow::Result<()> {
        // Somebody who is gone is an error here, not the end of us by SIGPIPE.
        sys::send(&self.0, b"!", MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Asks for a SIGIO whenever the child says something ([`tell`]).
    pub(super) fn listen(&self) -> anyhow::Result<()> {
        sys::fcntl_setown(&self.0, getpid())?;
        let flags = OFlag::O_ASYNC | OFlag::O_NONBLOCK;
        Ok(sys::fcntl_setfl(&self.0, flags)?)
    }

    /// The same end once more, for somebody who does not listen.
    pub(super) fn for_another(&self) -> anyhow::Result<Gate> {
        let end = sys::dup(&self.0)?;
        sys::fcntl_setfl(&end, OFlag::empty())?;
        Ok(end.into())
    }

    /// Takes what the child has said. Each of the news is there once, however
    /// often it was told.
    pub(super) fn news(&self) -> Vec<News> {
        let mut said = Vec::new();
        let mut bytes = [0; 64];
        // It ends with EAGAIN, or with the child's end.
        while let Ok(length @ 1..) = (&self.0).read(&mut bytes) {
            said.extend_from_slice(&bytes[..length]);
        }
        let all = [News::Stopped, News::CtrlC, News::EndedByInterrupt];
        let was_said = |news: &News| said.contains(&(*news as u8));
        all.into_iter().filter(was_said).collect()
    }
}

/// In the child: waits until the gate is opened.
pub(super) fn wait(
    childs_end: UnixStream,
    ends_with: EndsWith,
) -> anyhow::Result<()> {
    let (end, _) = CHILDS_END.get_or_init(|| (childs_end, ends_with));
    die_with_parent()?;
    let mut byte = [0];
    // Nothing to read means that the other side has given up or is dead. It has
    // said why, so there is nothing to add.
    if sys::read(end, &mut byte)? == 0 {
        exit(FAILED);
    }
    Ok(())
}

/// Has the kernel kill this process when its parent dies, unless it
/// [ends with nobody](EndsWith::Nobody). To be called again after each change of
/// user or group ids, which takes it back. See prctl(2), PR_SET_PDEATHSIG.
pub fn die_with_parent() -> anyhow::Result<()> {
    let childs_end = CHILDS_END.get();
    if let Some((_, EndsWith::Nobody)) = childs_end {
        return Ok(());
    }
    sys::prctl_set_pdeathsig(Signal::SIGKILL)?;

    // A parent that died before this call sends no signal any more. The gate
    // tells: its other end is closed.
    let Some((end, _)) = childs_end else {
        return Ok(());
    };
    let mut ends = [PollFd::new(end.as_fd(), PollFlags::empty())];
    sys::poll(&mut ends, PollTimeout::ZERO)?;
    let seen = ends[0].revents().unwrap_or(PollFlags::empty());
    if seen.contains(PollFlags::POLLHUP) {
        exit(FAILED);
    }
    Ok(())
}

/// The same for a process without a gate, a child of `parent`, which works for
/// it and is of no use without it. See prctl(2), PR_SET_PDEATHSIG.
pub fn end_with(parent: Pid) -> sys::Result<()> {
    sys::prctl_set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        // It has died before that call, and nobody waits for a word.
        exit(FAILED);
    }
    Ok(())
}

/// Ends this process if nobody reads any more what is written to `pipe`.
pub(crate) fn end_if_unheard(pipe: impl AsFd) -> anyhow::Result<()> {
    let mut ends = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    sys::poll(&mut ends, PollTimeout::ZERO)?;
    let seen = ends[0].revents().unwrap_or(PollFlags::empty());
    if seen.contains(PollFlags::POLLERR) {
        exit(FAILED);
    }
    Ok(())
}

/// The number of the child's end, in the child.
pub(super) fn childs_end() -> Option<RawFd> {
    CHILDS_END.get().map(|(end, _)| end.as_raw_fd())
}

/// Whether we are the child, and have passed the gate.
pub(super) fn is_behind_us() -> bool {
    CHILDS_END.get().is_some()
}

/// For init: tells the parent outside what it can't see itself, since it is the
/// parent of number 1 and not of the command. Nobody waits for it: if the parent
/// does not listen, or not any more, the news is lost.
pub fn tell(news: News) -> anyhow::Result<()> {
    let Some((end, _)) = CHILDS_END.get() else {
        return Ok(());
    };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match sys::send(end, &[news as u8], flags) {
        Err(error) if [Errno::EAGAIN, Errno::EPIPE].contains(&error.errno) => {
            Ok(())
        }
        sent => Ok(sent.map(drop)?),
    }
}
