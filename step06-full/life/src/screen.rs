//! The screen of a container with a terminal of its own: what is printed there
//! goes to the log, and to everybody who looks.
//!
//! It is a helper of the monitor, as the [pump](crate::pump) is of a container
//! without a terminal. Who looks gets the master of the terminal as well, to
//! type, and to say how large the window is. Who does not read what is printed
//! is waited for, as every terminal is; but only for a moment: nobody can stop
//! a container by looking away.

use std::{
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use common::sys;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::socket::SockType,
    unistd::Uid,
};
use step06_full::terminal::{self, Terminal};

use crate::{Stream, helper::Helper, pump::Writer, server::check_peer, words};

/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// How long somebody may look away.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket in the container's directory at which one may look.
pub(crate) const SOCKET: &str = "terminal";

/// A terminal that is still to be made.
pub(crate) struct Screen {
    /// The master comes through here; it stays in there for a helper that has to
    /// be started once more.
    from_inside: OwnedFd,
    to_screen: OwnedFd,
    /// To whoever has started the container and looks at it: it ends with them.
    starter: Option<OwnedFd>,
}

impl Screen {
    /// To be made before the container's process. `starter` leads to somebody
    /// who looks from the beginning.
    pub(crate) fn new(starter: Option<OwnedFd>) -> anyhow::Result<Screen> {
        let (from_inside, to_screen) = sys::socketpair(SockType::Stream)?;
        Ok(Screen {
            from_inside,
            to_screen,
            starter,
        })
    }

    pub(crate) fn has_starter(&self) -> bool {
        self.starter.is_some()
    }

    /// In the container's process, at its end: makes the terminal.
    pub(crate) fn take(&self, user: Option<Uid>) -> anyhow::Result<()> {
        let terminal = Terminal::open()?;
        let hand_over = |to: &OwnedFd, word: &[u8]| {
            sys::sendmsg_with_fds(to, word, &[terminal.master.as_fd()])
                .context("handing over the terminal")
        };
        hand_over(&self.to_screen, words::ALONE)?;
        if let Some(starter) = &self.starter {
            hand_over(starter, words::SHARED)?;
        }
        terminal::use_for_streams(&terminal.inside)?;
        terminal::give_to(user)?;
        terminal::lead_session()
    }

    /// The helper, for the container with the number 1 `init`. What is printed
    /// is kept in `dir`, and `listener` is where one may come to look.
    pub(crate) fn helper(
        self,
        init: OwnedFd,
        listener: UnixListener,
        dir: PathBuf,
    ) -> anyhow::Result<Helper> {
        listener.set_nonblocking(true)?;
        let mut kept: Vec<RawFd> =
            vec![self.from_inside.as_raw_fd(), init.as_raw_fd()];
        kept.push(listener.as_raw_fd());
        kept.extend(self.starter.as_ref().map(AsRawFd::as_raw_fd));
        let (from_inside, starter) = (self.from_inside, self.starter);
        Helper::start(kept, move || {
            let viewers = starter.iter().map(Viewer::starter);
            let viewers = viewers.collect::<Result<_, _>>()?;
            show(&from_inside, &init, &listener, &dir, viewers)
        })
    }
}

/// Somebody who looks.
struct Viewer {
    stream: UnixStream,
    /// What was not taken yet, and since when.
    pending: Vec<u8>,
    since: Instant,
    is_starter: bool,
}

impl Viewer {
    fn new(stream: UnixStream, is_starter: bool) -> anyhow::Result<Viewer> {
        stream.set_nonblocking(true)?;
        Ok(Viewer {
            stream,
            pending: Vec::new(),
            since: Instant::now(),
            is_starter,
        })
    }

    fn starter(stream: &OwnedFd) -> anyhow::Result<Viewer> {
        Viewer::new(sys::dup(stream)?.into(), true)
    }

    /// Shows `text`, and what there was before; `false` if nobody looks any
    /// more.
    fn show(&mut self, text: &[u8]) -> bool {
        if self.pending.is_empty() {
            self.since = Instant::now();
        }
        self.pending.extend_from_slice(text);
        while !self.pending.is_empty() {
            match sys::write_some(&self.stream, &self.pending) {
                Err(error) if error.errno == Errno::EAGAIN => break,
                Err(_) => return false,
                Ok(length) => drop(self.pending.drain(..length)),
            }
            self.since = Instant::now();
        }
        self.pending.is_empty() || self.since.elapsed() < PATIENCE
    }

    /// Looks whether it is still there.
    fn left(&self) -> Option<Left> {
        let mut byte = [0];
        match sys::read(&self.stream, &mut byte) {
            Err(error) if error.errno == Errno::EAGAIN => None,
            Ok(1) if byte[0] == words::DETACHED => Some(Left::OnPurpose),
            _ => Some(Left::Gone),
        }
    }
}

/// How somebody has left.
enum Left {
    OnPurpose,
    Gone,
}

/// Until all in the container have ended.
fn show(
    from_inside: &OwnedFd,
    init: &OwnedFd,
    listener: &UnixListener,
    dir: &Path,
    mut viewers: Vec<Viewer>,
) -> anyhow::Result<()> {
    let mut log = Writer::new(dir);
    let (_, descriptors) = sys::peek_with_fds(from_inside, &mut [0])?;
    // The container ends before it has begun.
    let Some(master) = descriptors.into_iter().next() else {
        return Ok(());
    };
    sys::fcntl_setfl(&master, OFlag::O_RDWR | OFlag::O_NONBLOCK)?;
    let mut text = vec![0; CHUNK];
    loop {
        let is_free = viewers.iter().all(|it| it.pending.is_empty());
        wait(&master, is_free, listener, &viewers)?;
        if let Ok((stream, _)) = listener.accept() {
            viewers.extend(welcome(stream, &master).ok());
        }
        let mut has_ended = false;
        viewers.retain(|viewer| match viewer.left() {
            None => true,
            Some(Left::OnPurpose) => false,
            Some(Left::Gone) => {
                has_ended |= viewer.is_starter;
                false
            }
        });
        if has_ended {
            // As with every container that somebody has started and waits for.
            let _ = sys::pidfd_send_signal(init, libc::SIGKILL);
        }
        let length = match is_free.then(|| sys::read(&master, &mut text)) {
            None => 0,
            Some(Err(error)) if error.errno == Errno::EAGAIN => 0,
            // Nobody has the other side open.
            Some(Err(error)) if error.errno == Errno::EIO => return Ok(()),
            Some(read) => read?,
        };
        if length > 0 {
            log.write(Stream::Stdout, &text[..length]);
        }
        viewers.retain_mut(|viewer| viewer.show(&text[..length]));
    }
}

/// Waits until somebody comes, leaves, or takes what is pending; or until
/// something is printed, if there is room for it.
fn wait(
    master: &OwnedFd,
    is_free: bool,
    listener: &UnixListener,
    viewers: &[Viewer],
) -> anyhow::Result<()> {
    let input = PollFlags::POLLIN;
    let mut files = vec![PollFd::new(listener.as_fd(), input)];
    if is_free {
        files.push(PollFd::new(master.as_fd(), input));
    }
    for viewer in viewers {
        let events = match viewer.pending.is_empty() {
            true => input,
            false => input | PollFlags::POLLOUT,
        };
        files.push(PollFd::new(viewer.stream.as_fd(), events));
    }
    let limit = match is_free {
        true => PollTimeout::NONE,
        false => PollTimeout::from(100_u8),
    };
    match sys::poll(&mut files, limit) {
        Err(error) if error.errno == Errno::EINTR => Ok(()),
        polled => Ok(polled.map(drop)?),
    }
}

fn welcome(stream: UnixStream, master: &OwnedFd) -> anyhow::Result<Viewer> {
    check_peer(&stream)?;
    sys::sendmsg_with_fds(&stream, words::SHARED, &[master.as_fd()])?;
    Viewer::new(stream, false)
}
