//! A connection to a message bus, as a client that calls and waits.
//!
//! D-Bus connects programs that know each other by name: a daemon, the bus, to
//! which all are connected, passes their messages on. systemd is at two of them:
//! the first systemd, which is number 1, at that of the system; and for each user
//! who is logged in one more at a bus of that user's. Of libraries there would
//! be several, each larger than this runtime; what one call and one answer take
//! is written down in the D-Bus specification, and fits on these pages.

use std::{
    collections::VecDeque,
    fmt::{self, Display},
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::{
    address::{address, open},
    message::{self, ANSWER, ERROR, Message, Method, SIGNAL},
    peer,
    stream::Stream,
    wire::Writer,
};

/// How long an answer may take: as long as the libraries wait.
const PATIENCE: Duration = Duration::from_secs(25);

/// The one signal that is waited for here. Anybody may send us any, so that of
/// this one, too, only as many and as long ones are kept as systemd would send.
const WAITED_FOR: &str = "JobRemoved";
const MOST: usize = 1000;
const LONGEST: usize = 4096;

/// Which of the buses.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Kind {
    System,
    User,
}

/// A connection.
pub(super) struct Bus {
    stream: BufReader<Stream>,
    serial: u32,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<Message>,
}

/// What is answered to a call that was understood, and can't be done.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What it is called: `org.freedesktop.systemd1.UnitExists`.
    pub(super) name: String,
    text: String,
}

impl Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} ({})", self.text, self.name)
    }
}

impl std::error::Error for Refusal {}

impl Bus {
    /// Connects to the bus.
    pub(super) fn connect(kind: Kind) -> anyhow::Result<Bus> {
        let address = address(kind)?;
        let connect = || {
            let stream = open(&address)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Bus::over(stream)
        };
        connect().with_context(|| format!("connecting to D-Bus at {address}"))
    }

    /// Says who we are, and begins.
    pub(super) fn over(stream: UnixStream) -> anyhow::Result<Bus> {
        let mut bus = Bus {
            stream: BufReader::new(Stream::new(stream)),
            serial: 0,
            patience: PATIENCE,
            signals: VecDeque::new(),
        };
        bus.wait();
        bus.authenticate()?;
        let hello = Method {
            destination: "org.freedesktop.DBus",
            object: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        bus.call(&hello, "", Writer::default())?;
        Ok(bus)
    }

    /// Some lines of text come before the messages. `EXTERNAL` means that the
    /// kernel has told the bus who we are (`SO_PEERCRED` in unix(7)). We leave
    /// out our name, which would be the number of our user: in a user namespace
    /// we may be 0, and are somebody else to the bus. See "Authentication
    /// Protocol" in the D-Bus specification.
    fn authenticate(&mut self) -> anyhow::Result<()> {
        // The first byte is for systems that send credentials along with one.
        self.say(b"\0AUTH EXTERNAL\r\n")?;
        self.is_answered("DATA")?;
        self.say(b"DATA\r\n")?;
        self.is_answered("OK")?;
        self.say(b"BEGIN\r\n")
    }

    /// From now on it is waited once more, for all that is read together.
    pub(super) fn wait(&mut self) {
        self.stream.get_mut().wait(self.patience);
    }

    /// Whether a number of a process means the same there. See
    /// [`peer::expect_our_numbers`].
    pub(super) fn expect_our_numbers(&self) -> anyhow::Result<()> {
        peer::expect_our_numbers(self.stream.get_ref().socket())
    }

    fn say(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    fn is_answered(&mut self, word: &str) -> anyhow::Result<()> {
        // A line of this protocol is no longer than that.
        let mut line = Vec::new();
        let limited = &mut (&mut self.stream).take(1 << 14);
        limited.read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        ensure!(
            line.split(' ').next() == Some(word),
            "the bus does not let us in: it says {line:?}"
        );
        Ok(())
    }

    /// Calls a method, and waits for the answer.
    ///
    /// # Errors
    /// A [`Refusal`], or that there is nobody.
    pub(super) fn call(
        &mut self,
        method: &Method,
        signature: &str,
        arguments: Writer,
    ) -> anyhow::Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        let call = message::call(serial, method, signature, &arguments.bytes);
        self.wait();
        self.say(&call)?;
        loop {
            let message = Message::read(&mut self.stream)
                .with_context(|| format!("waiting for {}", method.member))?;
            let is_answer = message.reply_to == serial;
            match message.kind {
                SIGNAL => self.keep(message),
                ERROR if is_answer => return Err(refusal(&message).into()),
                ANSWER if is_answer => return Ok(message),
                _ => {}
            }
        }
    }

    /// Keeps a signal for [`Bus::signal`], if it may be systemd's.
    fn keep(&mut self, signal: Message) {
        let may_be = signal.member == WAITED_FOR && signal.length() <= LONGEST;
        if may_be && self.signals.len() < MOST {
            self.signals.push_back(signal);
        }
    }

    /// The next `JobRemoved`, whoever has sent it. How long it may take is said
    /// by [`Bus::wait`].
    pub(super) fn signal(&mut self) -> anyhow::Result<Message> {
        loop {
            if let Some(message) = self.signals.pop_front() {
                return Ok(message);
            }
            let message = Message::read(&mut self.stream)?;
            if message.kind == SIGNAL {
                self.keep(message);
            }
        }
    }
}

fn refusal(message: &Message) -> Refusal {
    // Most say why, and need not.
    let text = message.body().text().unwrap_or("refused");
    Refusal {
        name: message.error.clone(),
        text: text.to_owned(),
    }
}
