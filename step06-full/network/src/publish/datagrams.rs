//! Datagrams. There are no connections to pass on, so that we remember who has
//! sent something: each sender gets a socket in the container, and what comes
//! back by that is for this sender. Who is silent for long is forgotten.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollEvent, EpollFlags},
        socket::{self, MsgFlags},
    },
};

use super::{
    inside::{Places, speak_with},
    listen::Open,
    packet::{receive, send_from},
    relay::TICK,
    slots::{Slots, Token},
};

/// How long a sender is remembered that had no answer, and one that had: as long
/// as the kernel's firewall does. See nf_conntrack_udp_timeout in
/// Documentation/networking/nf_conntrack-sysctl.rst.
const WITHOUT_ANSWER: Duration = Duration::from_secs(30);
const WITH_ANSWER: Duration = Duration::from_secs(120);

/// How many datagrams are taken before others have their turn.
const TURNS: usize = 64;

/// Which part of the senders is forgotten when there is no room.
const SHARE: usize = 16;

/// Who has sent something, and to which of our addresses. An answer must come
/// from there, or who has asked would not take it for one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sender {
    door: usize,
    client: SocketAddr,
    us: IpAddr,
}

struct Flow {
    sender: Sender,
    server: UdpSocket,
    places: Places,
    last: Instant,
    has_answer: bool,
}

impl Flow {
    fn watch(&self, epoll: &Epoll, number: usize) -> nix::Result<()> {
        let token = Token::Flow(number).number();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        epoll.add(&self.server, event)
    }

    /// Sends it to where the server is. Nobody knows that before it is tried:
    /// that nobody is there comes back as an error, on the container's loopback
    /// at once.
    fn send(
        &mut self,
        datagram: &[u8],
        epoll: &Epoll,
        number: usize,
    ) -> nix::Result<()> {
        loop {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let sent = socket::send(self.server.as_raw_fd(), datagram, flags);
            let error = self.server.take_error().ok().flatten();
            let is_refused = sent == Err(Errno::ECONNREFUSED);
            if self.has_answer || !is_refused && error.is_none() {
                return Ok(());
            }
            let next = self.places.find_map(speak_with);
            self.server = next.ok_or(Errno::ECONNREFUSED)?;
            self.watch(epoll, number)?;
        }
    }

    fn is_old(&self, now: Instant) -> bool {
        let limit = match self.has_answer {
            true => WITH_ANSWER,
            false => WITHOUT_ANSWER,
        };
        now.saturating_duration_since(self.last) > limit
    }
}

/// Those that are remembered.
pub(super) struct Flows {
    flows: Slots<Flow>,
    of: HashMap<Sender, usize>,
    max: usize,
    last_tick: Instant,
}

impl Flows {
    pub(super) fn new(max: usize) -> Flows {
        Flows {
            flows: Slots::default(),
            of: HashMap::new(),
            max,
            last_tick: Instant::now(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.len() == 0
    }

    /// Passes on what has come to the host's port.
    pub(super) fn receive(
        &mut self,
        index: usize,
        doors: &[Open],
        epoll: &Epoll,
        buffer: &mut [u8],
        now: Instant,
    ) {
        let door = &doors[index];
        for _ in 0..TURNS {
            let (length, client, us) = match receive(door, buffer) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return,
                // An answer of ours did not arrive somewhere.
                Err(_) => continue,
            };
            let Some((client, us)) = client.zip(us) else {
                continue;
            };
            let sender = Sender {
                door: index,
                client,
                us,
            };
            let port = door.port.container;
            let number = self.number_of(sender, port, epoll, now);
            let flow = number.and_then(|it| self.flows.get_mut(it));
            let Some((number, flow)) = number.zip(flow) else {
                continue;
            };
            flow.last = now;
            if flow.send(&buffer[..length], epoll, number).is_err() {
                self.forget(number);
            }
        }
    }

    /// The flow of `sender`, a new one if need be.
    fn number_of(
        &mut self,
        sender: Sender,
        port: u16,
        epoll: &Epoll,
        now: Instant,
    ) -> Option<usize> {
        if let Some(number) = self.of.get(&sender) {
            return Some(*number);
        }
        if self.flows.len() >= self.max {
            self.make_room();
        }
        let mut places = Places::of(port);
        let server = places.find_map(speak_with)?;
        let number = self.flows.insert(Flow {
            sender,
            server,
            places,
            last: now,
            has_answer: false,
        });
        if self.flows.get_mut(number)?.watch(epoll, number).is_err() {
            self.flows.remove(number);
            return None;
        }
        self.of.insert(sender, number);
        Some(number)
    }

    /// Passes back what the container has sent.
    pub(super) fn answer(
        &mut self,
        number: usize,
        doors: &[Open],
        buffer: &mut [u8],
        now: Instant,
    ) {
        for _ in 0..TURNS {
            let Some(flow) = self.flows.get_mut(number) else {
                return;
            };
            match socket::recv(
                flow.server.as_raw_fd(),
                buffer,
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(length) => {
                    (flow.last, flow.has_answer) = (now, true);
                    let Sender { door, client, us } = flow.sender;
                    // One that gets lost is nothing new to UDP.
                    let answer = &buffer[..length];
                    let _ = send_from(&doors[door], us, client, answer);
                }
                Err(Errno::EAGAIN) => return,
                // Nobody is there any more.
                Err(_) => return self.forget(number),
            }
        }
    }

    fn forget(&mut self, number: usize) {
        if let Some(flow) = self.flows.remove(number) {
            self.of.remove(&flow.sender);
        }
    }

    /// Makes room: whoever had no answer goes first, then who is silent for the
    /// longest time. Several at once: to look through all of them for each
    /// datagram of a flood would leave no time for anybody else.
    fn make_room(&mut self) {
        let all = self.flows.iter();
        let all = all.map(|(number, it)| (it.has_answer, it.last, number));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        for (_, _, number) in all.into_iter().take(self.max / SHARE + 1) {
            self.forget(number);
        }
    }

    pub(super) fn forget_old_ones(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last_tick) < TICK {
            return;
        }
        self.last_tick = now;
        let old = self.flows.iter().filter(|(_, it)| it.is_old(now));
        let old: Vec<usize> = old.map(|(number, _)| number).collect();
        for number in old {
            self.forget(number);
        }
    }
}
