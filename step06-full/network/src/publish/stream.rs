//! A connection: two of them, in fact, and what comes in by one goes out by the
//! other.
//!
//! There is no buffer of ours in between. What has come is looked at
//! (`MSG_PEEK`), passed on, and only as much as the other side has taken is
//! then taken out of the socket (`MSG_TRUNC`): a reader that is slow makes its
//! writer wait, by the kernel's own buffers. See tcp(7).
//!
//! The calls are made without the room `sys`: that nothing is there to be read
//! (`EAGAIN`) is no error here, and the text of one would take more than the
//! call.

use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollEvent, EpollFlags},
        socket::{MsgFlags, recv, send, setsockopt, sockopt},
    },
};

use super::inside::{self, Places};

/// The two ends of a connection.
pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

/// How often one connection may go on before others have their turn.
const TURNS: usize = 4;

/// What is to be done with a connection.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// It waits for either side.
    Wait,
    /// It has had its turn, and has more.
    More,
    /// It has ended.
    End,
}

pub(super) struct Stream {
    client: TcpStream,
    server: Option<TcpStream>,
    is_connected: bool,
    /// Where in the container it is still to be tried.
    places: Places,
    /// What is known of each end since the kernel has told us, and until it says
    /// `EAGAIN`.
    readable: [bool; 2],
    writable: [bool; 2],
    /// Whether more may come from each end.
    open: [bool; 2],
    is_broken: bool,
    /// It has had its turn, and waits for the next one.
    pub(super) is_busy: bool,
}

/// Each change is told once. See epoll(7), "Level-triggered and edge-triggered".
fn all_changes() -> EpollFlags {
    EpollFlags::EPOLLIN
        | EpollFlags::EPOLLOUT
        | EpollFlags::EPOLLRDHUP
        | EpollFlags::EPOLLET
}

impl Stream {
    /// A connection that has been accepted and is to lead to `port`.
    pub(super) fn new(client: TcpStream, port: u16) -> Stream {
        Stream {
            client,
            server: None,
            is_connected: false,
            places: Places::of(port),
            readable: [false; 2],
            writable: [false; 2],
            open: [true; 2],
            is_broken: false,
            is_busy: false,
        }
    }

    /// Has `epoll` tell of the client, with this number.
    pub(super) fn watch(&self, epoll: &Epoll, number: u64) -> nix::Result<()> {
        epoll.add(&self.client, EpollEvent::new(all_changes(), number))
    }

    /// Begins to connect to the next place in the container. An error: there is
    /// none that could be tried.
    pub(super) fn connect(
        &mut self,
        epoll: &Epoll,
        number: u64,
    ) -> nix::Result<()> {
        let mut refused = Errno::ECONNREFUSED;
        for place in self.places.by_ref() {
            match inside::begin(place) {
                Ok(server) => {
                    let event = EpollEvent::new(all_changes(), number);
                    epoll.add(&server, event)?;
                    self.server = Some(server.into());
                    return Ok(());
                }
                Err(errno) => refused = errno,
            }
        }
        Err(refused)
    }

    /// Takes note of what the kernel has told of one end.
    pub(super) fn hear(&mut self, end: usize, events: EpollFlags) {
        let to_read = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLHUP
            | EpollFlags::EPOLLERR;
        let to_write = EpollFlags::EPOLLOUT | EpollFlags::EPOLLERR;
        self.readable[end] |= events.intersects(to_read);
        self.writable[end] |= events.intersects(to_write);
        // Of an end that has said all it had to, nobody would read the error.
        self.is_broken |=
            events.contains(EpollFlags::EPOLLERR) && !self.open[end];
    }

    /// Whether the server is there. `None`: it is not known yet. An error: it is
    /// not at this place.
    pub(super) fn has_server(&mut self) -> io::Result<Option<()>> {
        if self.is_connected {
            return Ok(Some(()));
        }
        let Some(server) = &self.server else {
            return Err(Errno::ECONNREFUSED.into());
        };
        if let Some(error) = server.take_error()? {
            return Err(error);
        }
        let Ok(peer) = server.peer_addr() else {
            return Ok(None);
        };
        // By chance a socket got the very port that it connects to, where nobody
        // listens, and has found itself.
        if peer == server.local_addr()? {
            return Err(Errno::ECONNREFUSED.into());
        }
        server.set_nodelay(true)?;
        inside::notice_its_end(server)?;
        self.is_connected = true;
        Ok(Some(()))
    }

    /// Passes on what there is, both ways. An error is one of either end, and
    /// the other one is to have it, too.
    pub(super) fn pass_on(&mut self, buffer: &mut [u8]) -> nix::Result<Next> {
        if self.is_broken {
            return Err(Errno::ECONNRESET);
        }
        let there = self.pass_from(CLIENT, buffer)?;
        let back = self.pass_from(SERVER, buffer)?;
        Ok(match self.open {
            [false, false] => Next::End,
            _ if there || back => Next::More,
            _ => Next::Wait,
        })
    }

    /// One way. Returns whether there is more.
    fn pass_from(
        &mut self,
        from: usize,
        buffer: &mut [u8],
    ) -> nix::Result<bool> {
        let Some(server) = &self.server else {
            return Ok(false);
        };
        let ends = [&self.client, server];
        let to = 1 - from;
        for _ in 0..TURNS {
            let may = self.open[from] && self.readable[from];
            if !may || !self.writable[to] {
                return Ok(false);
            }
            let (input, output) = (ends[from], ends[to]);
            match recv(input.as_raw_fd(), buffer, peek()) {
                Err(Errno::EAGAIN) => self.readable[from] = false,
                // The other side may go on: only this direction has ended.
                Ok(0) => {
                    self.open[from] = false;
                    // An error: the other direction will meet it, too.
                    let _ = output.shutdown(Shutdown::Write);
                }
                Ok(length) => {
                    match pass(input, output, &mut buffer[..length]) {
                        Err(Errno::EAGAIN) => self.writable[to] = false,
                        passed => passed?,
                    }
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }

    /// Ends both connections as one has ended: by a reset, which says that
    /// something was lost.
    pub(super) fn reset(self) {
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        for end in [Some(self.client), self.server].iter().flatten() {
            let _ = setsockopt(end, sockopt::Linger, &at_once);
        }
    }
}

fn peek() -> MsgFlags {
    MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT
}

/// Passes on what `bytes` has of `input`, as much as `output` takes.
fn pass(
    input: &TcpStream,
    output: &TcpStream,
    bytes: &mut [u8],
) -> nix::Result<()> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let mut taken = send(output.as_raw_fd(), bytes, flags)?;
    while taken > 0 {
        // Nothing is written to `bytes`.
        let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
        match recv(input.as_raw_fd(), &mut bytes[..taken], flags) {
            Ok(length @ 1..) => taken -= length,
            // It was there a moment ago.
            _ => return Err(Errno::ECONNRESET),
        }
    }
    Ok(())
}
