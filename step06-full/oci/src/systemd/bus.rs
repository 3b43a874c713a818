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
    env,
    fmt::{self, Display},
    io::{BufRead, BufReader, Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{
    message::{self, ERROR, Message, Method, SIGNAL},
    wire::Writer,
};

/// How long an answer may take: as long as the libraries wait.
const PATIENCE: Duration = Duration::from_secs(25);

/// Which of the buses.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Kind {
    System,
    User,
}

/// A connection.
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
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
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Bus::over(stream)
        };
        connect().with_context(|| format!("connecting to D-Bus at {address}"))
    }

    /// Says who we are, and begins.
    pub(super) fn over(stream: UnixStream) -> anyhow::Result<Bus> {
        let mut bus = Bus {
            stream: BufReader::new(stream),
            serial: 0,
            signals: VecDeque::new(),
        };
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
        self.say(&call)?;
        loop {
            let message = Message::read(&mut self.stream)
                .with_context(|| format!("waiting for {}", method.member))?;
            match message.kind {
                SIGNAL => self.signals.push_back(message),
                _ if message.reply_to != serial => {}
                ERROR => return Err(refusal(&message).into()),
                _ => return Ok(message),
            }
        }
    }

    /// The next signal.
    pub(super) fn signal(&mut self) -> anyhow::Result<Message> {
        loop {
            if let Some(message) = self.signals.pop_front() {
                return Ok(message);
            }
            let message = Message::read(&mut self.stream)?;
            if message.kind == SIGNAL {
                self.signals.push_back(message);
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

/// Where the bus listens. See "Well-known Message Bus Instances" in the D-Bus
/// specification.
fn address(kind: Kind) -> anyhow::Result<String> {
    let (variable, usual) = match kind {
        Kind::System => (
            "DBUS_SYSTEM_BUS_ADDRESS",
            Some("unix:path=/run/dbus/system_bus_socket".to_owned()),
        ),
        Kind::User => (
            "DBUS_SESSION_BUS_ADDRESS",
            env::var("XDG_RUNTIME_DIR")
                .ok()
                .map(|place| format!("unix:path={place}/bus")),
        ),
    };
    let given = env::var(variable).ok().filter(|it| !it.is_empty());
    given.or(usual).with_context(|| {
        format!(
            "there is no bus: neither {variable} nor XDG_RUNTIME_DIR is set"
        )
    })
}

/// Connects to the first of the addresses that works.
pub(super) fn open(addresses: &str) -> anyhow::Result<UnixStream> {
    let mut last = None;
    for address in addresses.split(';').filter(|it| !it.is_empty()) {
        match open_one(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("the address is empty")?)
}

/// `unix:path=/run/user/1000/bus,guid=…`
fn open_one(address: &str) -> anyhow::Result<UnixStream> {
    let Some(("unix", pairs)) = address.split_once(':') else {
        bail!("{address:?} is no Unix socket");
    };
    let mut pairs = pairs.split(',').filter_map(|it| it.split_once('='));
    let place = pairs.find(|(key, _)| ["path", "abstract"].contains(key));
    let (key, value) = place.context("the address has no path")?;
    let name = unescape(value)?;
    let address = match key {
        "path" => SocketAddr::from_pathname(String::from_utf8(name)?)?,
        _ => SocketAddr::from_abstract_name(name)?,
    };
    Ok(UnixStream::connect_addr(&address)?)
}

/// `%2f` is a slash.
pub(super) fn unescape(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).context("the address ends with a %")?;
        bytes.push(u8::from_str_radix(code, 16)?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    Ok(bytes)
}
