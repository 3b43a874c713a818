//! The loop: waits for all sockets at once, and goes on with those that can.

use std::{
    convert::Infallible,
    io::{self, ErrorKind},
    mem,
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::Context;
use common::sys;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        epoll::{
            Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout,
        },
        resource::Resource,
    },
};

use super::{
    datagrams::Flows,
    listen::{Open, Socket},
    port::Protocol,
    slots::{Slots, Token},
    stream::{CLIENT, Next, SERVER, Stream},
};

/// How much is passed on at a time.
const BUFFER: usize = 1 << 20;

/// How many connections one door may let in before others have their turn.
const ACCEPTED: usize = 64;

/// How long nobody is let in when there is no room.
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is looked for what has timed out.
pub(super) const TICK: Duration = Duration::from_secs(5);

pub(super) struct Relay {
    epoll: Epoll,
    doors: Vec<Open>,
    streams: Slots<Stream>,
    streams_max: usize,
    flows: Flows,
    /// Connections that have had their turn, and have more.
    busy: Vec<usize>,
    /// Until when nobody is let in.
    paused: Option<Instant>,
    buffer: Vec<u8>,
}

impl Relay {
    pub(super) fn new(doors: Vec<Open>) -> anyhow::Result<Relay> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .context("epoll_create1(EPOLL_CLOEXEC)")?;
        for door in &doors {
            sys::fcntl_setfl(door, OFlag::O_NONBLOCK)?;
        }
        let (files, _) = sys::getrlimit(Resource::RLIMIT_NOFILE)?;
        let files = usize::try_from(files)?;
        // A few are needed for a moment.
        let room = files.saturating_sub(doors.len() + 16);
        let relay = Relay {
            epoll,
            doors,
            streams: Slots::default(),
            streams_max: (room / 2 - room / 8).max(1),
            flows: Flows::new(room / 4),
            busy: Vec::new(),
            paused: None,
            buffer: vec![0; BUFFER],
        };
        relay.open_doors(|_| true).context("epoll_ctl")?;
        Ok(relay)
    }

    fn open_doors(&self, which: fn(&Open) -> bool) -> nix::Result<()> {
        let doors = self.doors.iter().enumerate();
        for (index, door) in doors.filter(|(_, it)| which(it)) {
            let token = Token::Door(index).number();
            let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
            self.epoll.add(door, event)?;
        }
        Ok(())
    }

    /// Passes on until this process is killed.
    pub(super) fn run(mut self) -> anyhow::Result<Infallible> {
        let mut events = [EpollEvent::empty(); 256];
        loop {
            let number = match self.epoll.wait(&mut events, self.timeout()) {
                Err(Errno::EINTR) => continue,
                number => number?,
            };
            let now = Instant::now();
            for event in &events[..number] {
                match Token::of(event.data()) {
                    Token::Door(index) => self.enter(index, now),
                    Token::Stream(index, end) => {
                        if let Some(stream) = self.streams.get_mut(index) {
                            stream.hear(end, event.events());
                            self.go_on(index);
                        }
                    }
                    Token::Flow(index) => {
                        let (doors, buffer) = (&self.doors, &mut self.buffer);
                        self.flows.answer(index, doors, buffer, now);
                    }
                }
            }
            for index in mem::take(&mut self.busy) {
                if let Some(stream) = self.streams.get_mut(index) {
                    stream.is_busy = false;
                    self.go_on(index);
                }
            }
            self.flows.forget_old_ones(now);
            if self.paused.is_some_and(|until| until <= now) {
                self.paused = None;
                self.open_doors(is_for_streams)?;
            }
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let longest = match () {
            () if !self.busy.is_empty() => Duration::ZERO,
            () if self.paused.is_some() => PAUSE,
            () if !self.flows.is_empty() => TICK,
            () => return EpollTimeout::NONE,
        };
        longest.try_into().expect("a few seconds")
    }

    /// Somebody is at a door.
    fn enter(&mut self, index: usize, now: Instant) {
        if let Socket::Udp(_) = self.doors[index].socket {
            let (epoll, buffer) = (&self.epoll, &mut self.buffer);
            return self.flows.receive(index, &self.doors, epoll, buffer, now);
        }
        for _ in 0..ACCEPTED {
            if self.streams.len() >= self.streams_max {
                return self.pause(now);
            }
            let error = match accept(&self.doors[index]) {
                Ok(client) => {
                    self.begin(client, self.doors[index].port.container);
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::WouldBlock => return,
                // Gone before it was let in. See accept(2), "Error handling".
                ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                // The machine has no more to give, for now.
                _ => return self.pause(now),
            }
        }
    }

    /// Lets nobody in for a while: they wait in the kernel's queue.
    fn pause(&mut self, now: Instant) {
        if self.paused.replace(now + PAUSE).is_some() {
            return;
        }
        for door in self.doors.iter().filter(|it| is_for_streams(it)) {
            let _ = self.epoll.delete(door);
        }
    }

    /// A connection has been accepted.
    fn begin(&mut self, client: TcpStream, port: u16) {
        let index = self.streams.insert(Stream::new(client, port));
        let stream = self.streams.get_mut(index).expect("it was put there");
        let watched =
            stream.watch(&self.epoll, Token::Stream(index, CLIENT).number());
        if watched.is_err() {
            return self.reset(index);
        }
        self.connect(index);
    }

    fn connect(&mut self, index: usize) {
        let Some(stream) = self.streams.get_mut(index) else {
            return;
        };
        let number = Token::Stream(index, SERVER).number();
        if stream.connect(&self.epoll, number).is_err() {
            self.reset(index);
        }
    }

    fn go_on(&mut self, index: usize) {
        let Some(stream) = self.streams.get_mut(index) else {
            return;
        };
        match stream.has_server() {
            Ok(None) => return,
            Ok(Some(())) => {}
            Err(_) => return self.connect(index),
        }
        match stream.pass_on(&mut self.buffer) {
            Ok(Next::Wait) => {}
            // Once, however often it was told of.
            Ok(Next::More) if !mem::replace(&mut stream.is_busy, true) => {
                self.busy.push(index);
            }
            Ok(Next::More) => {}
            Ok(Next::End) => drop(self.streams.remove(index)),
            Err(_) => self.reset(index),
        }
    }

    fn reset(&mut self, index: usize) {
        if let Some(stream) = self.streams.remove(index) {
            stream.reset();
        }
    }
}

fn accept(door: &Open) -> io::Result<TcpStream> {
    match &door.socket {
        Socket::Tcp(listener) => Ok(listener.accept()?.0),
        Socket::Udp(_) => Err(ErrorKind::WouldBlock.into()),
    }
}

fn is_for_streams(door: &Open) -> bool {
    door.port.protocol == Protocol::Tcp
}
