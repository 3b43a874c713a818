//! Against the bytes that are in the D-Bus specification, a bus that says what it
//! likes, and the one that this machine has.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    thread,
};

use super::{
    address::{open, unescape},
    bus::{Bus, Refusal},
    message::{self, Message, Method},
    wire::{Reader, Value, Writer},
};

mod hostile;

const METHOD: Method = Method {
    destination: "a.b",
    object: "/c",
    interface: "d.e",
    member: "F",
};

/// "Marshaling", with the numbers turned round: ours begin with the low byte.
#[test]
fn texts_are_as_in_the_specification() {
    let mut writer = Writer::default();
    for text in ["foo", "+", "bar"] {
        writer.text(text);
    }
    let bytes = b"\x03\0\0\0foo\0\x01\0\0\0+\0\0\0\x03\0\0\0bar\0";
    assert_eq!(writer.bytes, bytes);
    let theirs = b"\0\0\0\x03foo\0\0\0\0\x01+\0\0\0\0\0\0\x03bar\0";
    for (bytes, is_little) in [(bytes, true), (theirs, false)] {
        let mut reader = Reader::new(bytes, is_little);
        for text in ["foo", "+", "bar"] {
            assert_eq!(reader.text().expect("it is there"), text);
        }
        assert!(reader.is_at_end());
    }
}

/// The same of "an array containing only the 64-bit integer 5".
#[test]
fn arrays_are_as_in_the_specification() {
    let mut writer = Writer::default();
    writer.array(8, |array| {
        array.align(8);
        array.bytes.extend(5_u64.to_le_bytes());
    });
    assert_eq!(writer.bytes, b"\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
}

/// The length says nothing of what is in front of the first element, but that is
/// there, even if there is none.
#[test]
fn properties_are_pairs_of_a_name_and_a_variant() {
    let mut writer = Writer::default();
    writer.properties(&[]);
    assert_eq!(writer.bytes, [0; 8]);
    let mut writer = Writer::default();
    writer.properties(&[
        ("A", Value::Flag(true)),
        ("B", Value::Shorts(&[7])),
        ("C", Value::Long(u64::MAX)),
    ]);
    let bytes = [
        b"\x3c\0\0\0\0\0\0\0".as_slice(),
        b"\x01\0\0\0A\0\x01b\0\0\0\0\x01\0\0\0",
        b"\x01\0\0\0B\0\x02au\0\0\0\x04\0\0\0\x07\0\0\0\0\0\0\0",
        b"\x01\0\0\0C\0\x01t\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ]
    .concat();
    let length = bytes.len() - 8;
    assert_eq!(writer.bytes[8..], bytes[8..]);
    assert_eq!(
        writer.bytes[..8],
        [length.to_le_bytes()[..4].to_vec(), vec![0; 4]].concat()
    );
}

#[test]
fn a_call_is_a_header_and_a_body() {
    let bytes = message::call(1, &METHOD, "s", b"\x01\0\0\0x\0");
    let expected = [
        // Call, version 1, six bytes of body, number 1, 74 bytes of fields.
        b"l\x01\0\x01\x06\0\0\0\x01\0\0\0\x47\0\0\0".as_slice(),
        b"\x01\x01o\0\x02\0\0\0/c\0\0\0\0\0\0",
        b"\x02\x01s\0\x03\0\0\0d.e\0\0\0\0\0",
        b"\x03\x01s\0\x01\0\0\0F\0\0\0\0\0\0\0",
        b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0",
        b"\x08\x01g\0\x01s\0\0",
        b"\x01\0\0\0x\0",
    ]
    .concat();
    assert_eq!(bytes, expected);
    let read = Message::read(&mut &bytes[..]).expect("it is one");
    assert_eq!((read.kind, read.member.as_str()), (message::CALL, "F"));
    assert_eq!(read.body().text().expect("it is there"), "x");
}

/// Whoever is at the other end may say anything; none of it is a panic.
#[test]
fn what_is_no_message_is_an_error() {
    let good = message::call(1, &METHOD, "s", b"\x01\0\0\0x\0");
    for length in 0..good.len() {
        Message::read(&mut &good[..length]).expect_err("it is cut off");
    }
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            if let Ok(message) = Message::read(&mut &bytes[..]) {
                let _ = message.body().text();
            }
        }
    }
}

/// A bus that answers with `lines`, and then with `bytes`.
fn bus(lines: &'static str, bytes: Vec<u8>) -> anyhow::Result<Bus> {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let bus = thread::spawn(move || {
        theirs.write_all(lines.as_bytes())?;
        theirs.write_all(&bytes)?;
        theirs.shutdown(std::net::Shutdown::Write)?;
        theirs.read_to_end(&mut Vec::new())
    });
    let connected = Bus::over(ours);
    // Whether it was heard to the end is no matter.
    drop(bus);
    connected
}

#[test]
fn a_bus_that_does_not_let_us_in_is_an_error() {
    for lines in ["", "REJECTED EXTERNAL\r\n", "DATA\r\nERROR\r\n"] {
        let error = bus(lines, Vec::new()).err().expect("an error");
        assert!(error.to_string().contains("let us in"), "{error}");
    }
    let gone = bus("DATA\r\nOK 1\r\n", Vec::new());
    assert!(format!("{:#}", gone.err().expect("an error")).contains("Hello"));
}

#[test]
fn addresses_are_understood() {
    assert_eq!(unescape("/a%2fb%20").expect("it is good"), b"/a/b ");
    for bad in ["%", "%2", "%zz", "%\u{e9}"] {
        unescape(bad).expect_err(bad);
    }
    for address in ["", "tcp:host=a", "unix:", "unix:path=/nowhere;unix:a=b"] {
        open(address).expect_err(address);
    }
}

/// A bus of this test's own, which ends with it.
struct Daemon(Child, String);

impl Daemon {
    fn start() -> Option<Daemon> {
        let daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut daemon) = daemon else {
            println!("skipped: there is no dbus-daemon (package dbus)");
            return None;
        };
        let output = daemon.stdout.take().expect("it is a pipe");
        let mut address = String::new();
        let read = BufReader::new(output).read_line(&mut address);
        read.expect("it says where it is");
        Some(Daemon(daemon, address.trim_end().to_owned()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

#[test]
fn the_bus_of_this_machine_understands_us() {
    let Some(daemon) = Daemon::start() else {
        return;
    };
    let stream = open(&daemon.1).expect("it listens");
    let mut bus = Bus::over(stream).expect("it lets us in");
    let peer = Method {
        destination: "org.freedesktop.DBus",
        object: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member: "GetNameOwner",
    };
    let mut name = Writer::default();
    name.text("org.freedesktop.DBus");
    let answer = bus.call(&peer, "s", name).expect("it knows itself");
    let owner = answer.body().text().expect("a name").to_owned();
    assert_eq!(owner, "org.freedesktop.DBus");
    let mut name = Writer::default();
    name.text("org.example.Nobody");
    let error = bus.call(&peer, "s", name).expect_err("nobody has it");
    let refusal = error.downcast_ref::<Refusal>().expect("it is refused");
    assert_eq!(refusal.name, "org.freedesktop.DBus.Error.NameHasNoOwner");
}
