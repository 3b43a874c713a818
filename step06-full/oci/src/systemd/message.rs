//! A message of D-Bus: a header that says what it is and whom it is for, and a
//! body of values. See "Message Protocol" in the D-Bus specification.

use std::io::{self, ErrorKind, Read};

use anyhow::ensure;

use super::wire::{Reader, Value, Writer};

/// What kind of message it is.
pub(super) const CALL: u8 = 1;
pub(super) const ANSWER: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// The fields of a header that are used here, by their numbers.
const OBJECT: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_TO: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// The first byte of a message: which byte of its numbers comes first.
const LITTLE: u8 = b'l';
const BIG: u8 = b'B';

/// The version of the protocol.
const VERSION: u8 = 1;

/// The bytes before the list of fields, with its length.
const FIXED: usize = 16;

/// What an answer of ours can have; the protocol allows more.
const LONGEST: usize = 1 << 20;

/// A method of an object, which is to be called.
pub(super) struct Method<'a> {
    /// The name of whose it is, on the bus.
    pub(super) destination: &'a str,
    pub(super) object: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// The message that calls `method`. `signature` says what is in `body`.
pub(super) fn call(
    serial: u32,
    method: &Method,
    signature: &str,
    body: &[u8],
) -> Vec<u8> {
    let mut header = Writer::default();
    for byte in [LITTLE, CALL, 0, VERSION] {
        header.byte(byte);
    }
    let length = u32::try_from(body.len());
    header.short(length.expect("ours are short"));
    header.short(serial);
    let mut fields = vec![
        (OBJECT, Value::Object(method.object)),
        (INTERFACE, Value::Text(method.interface)),
        (MEMBER, Value::Text(method.member)),
        (DESTINATION, Value::Text(method.destination)),
    ];
    if !signature.is_empty() {
        fields.push((SIGNATURE, Value::Signature(signature)));
    }
    header.array(8, |array| {
        for (number, value) in &fields {
            array.align(8);
            array.byte(*number);
            array.variant(value);
        }
    });
    header.align(8);
    header.bytes.extend(body);
    header.bytes
}

/// A message that was received.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) member: String,
    pub(super) error: String,
    pub(super) sender: String,
    /// The call that it answers.
    pub(super) reply_to: u32,
    body: Vec<u8>,
    is_little: bool,
}

impl Message {
    /// Reads one message. One that is longer than what we are for is read, and
    /// is none of any kind, or has no body: any client of the bus may send one.
    pub(super) fn read(from: &mut impl Read) -> anyhow::Result<Message> {
        let mut bytes = vec![0; FIXED];
        from.read_exact(&mut bytes)?;
        let is_little = bytes[0] == LITTLE;
        ensure!(
            (is_little || bytes[0] == BIG) && bytes[3] == VERSION,
            "this is not version 1 of D-Bus"
        );
        let mut fixed = Reader::new(&bytes[4..], is_little);
        let body = fixed.short()? as usize;
        fixed.short()?;
        let fields = fixed.short()? as usize;
        let head = FIXED.saturating_add(fields).next_multiple_of(8);
        if fields >= LONGEST {
            skip(from, (head - FIXED).saturating_add(body))?;
            return Ok(Message::default());
        }
        bytes.resize(head, 0);
        from.read_exact(&mut bytes[FIXED..])?;
        let mut message = Message {
            kind: bytes[1],
            body: match body {
                ..LONGEST => read(from, body)?,
                LONGEST.. => skip(from, body)?,
            },
            is_little,
            ..Message::default()
        };
        message.take_fields(&bytes[..FIXED + fields])?;
        Ok(message)
    }

    fn take_fields(&mut self, header: &[u8]) -> anyhow::Result<()> {
        let mut reader = Reader::new(header, self.is_little);
        for _ in 0..FIXED {
            reader.byte()?;
        }
        while !reader.is_at_end() {
            reader.align(8);
            match reader.byte()? {
                MEMBER => self.member = reader.variant()?.0.to_owned(),
                ERROR_NAME => self.error = reader.variant()?.0.to_owned(),
                SENDER => self.sender = reader.variant()?.0.to_owned(),
                REPLY_TO => self.reply_to = reader.variant()?.1,
                // "Unknown fields must be ignored."
                _ => reader.skip_variant()?,
            }
        }
        Ok(())
    }

    /// How many bytes of values it has.
    pub(super) fn length(&self) -> usize {
        self.body.len()
    }

    /// The values in it.
    pub(super) fn body(&self) -> Reader<'_> {
        Reader::new(&self.body, self.is_little)
    }
}

fn read(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads so many bytes, and keeps none.
fn skip(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut rest = from.take(length as u64);
    match io::copy(&mut rest, &mut io::sink())? {
        skipped if skipped == length as u64 => Ok(Vec::new()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}
