//! A message of D-Bus: a header that says what it is and whom it is for, and a
//! body of values. See "Message Protocol" in the D-Bus specification.

use std::io::Read;

use anyhow::ensure;

use super::wire::{Reader, Value, Writer};

/// What kind of message it is.
pub(super) const CALL: u8 = 1;
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
    /// Reads one message.
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
        ensure!(
            fields < LONGEST && body < LONGEST,
            "a message of D-Bus is too long"
        );
        bytes.resize(head + body, 0);
        from.read_exact(&mut bytes[FIXED..])?;
        let body = bytes.split_off(head);
        let mut message = Message {
            kind: bytes[1],
            body,
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
            let field = reader.byte()?;
            let (text, number) = reader.variant()?;
            match field {
                MEMBER => text.clone_into(&mut self.member),
                ERROR_NAME => text.clone_into(&mut self.error),
                SENDER => text.clone_into(&mut self.sender),
                REPLY_TO => self.reply_to = number,
                // "Unknown fields must be ignored."
                _ => {}
            }
        }
        Ok(())
    }

    /// The values in it.
    pub(super) fn body(&self) -> Reader<'_> {
        Reader::new(&self.body, self.is_little)
    }
}
