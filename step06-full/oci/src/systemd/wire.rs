//! Values as D-Bus sends them: one behind the other, each at a multiple of its
//! own size, counted from the beginning of the message.
//!
//! What the values mean stands nowhere between them: a *signature* says it, a
//! letter for each, `u` a number of 32 bits, `s` a text, `a(sv)` a list of names
//! with a *variant* each, which is a value that brings its own signature. See
//! "Type System" and "Marshaling" in the D-Bus specification,
//! <https://dbus.freedesktop.org/doc/dbus-specification.html>.

use anyhow::{Context, bail, ensure};

/// A value that is sent in a variant.
pub(super) enum Value<'a> {
    /// `b`
    Flag(bool),
    /// `t`
    Long(u64),
    /// `s`
    Text(&'a str),
    /// `o`: the name of an object, which looks like a path.
    Object(&'a str),
    /// `g`: the letters of a signature.
    Signature(&'a str),
    /// `au`
    Shorts(&'a [u32]),
}

impl Value<'_> {
    fn signature(&self) -> &'static str {
        match self {
            Value::Flag(_) => "b",
            Value::Long(_) => "t",
            Value::Text(_) => "s",
            Value::Object(_) => "o",
            Value::Signature(_) => "g",
            Value::Shorts(_) => "au",
        }
    }
}

/// Values that are to be sent, the lowest byte of a number first.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    /// What is between two values is zero.
    pub(super) fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn short(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend(number.to_le_bytes());
    }

    fn long(&mut self, number: u64) {
        self.align(8);
        self.bytes.extend(number.to_le_bytes());
    }

    /// Its length comes first; a NUL, which is not counted, ends it.
    pub(super) fn text(&mut self, text: &str) {
        self.short(length(text.len()));
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    /// Like a text, but its length is one byte: there are no longer ones.
    pub(super) fn signature(&mut self, signature: &str) {
        let length = u8::try_from(signature.len());
        self.byte(length.expect("ours are short"));
        self.bytes.extend(signature.as_bytes());
        self.byte(0);
    }

    pub(super) fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Flag(flag) => self.short(u32::from(*flag)),
            Value::Long(number) => self.long(*number),
            Value::Text(text) | Value::Object(text) => self.text(text),
            Value::Signature(signature) => self.signature(signature),
            Value::Shorts(numbers) => self.array(4, |it| {
                numbers.iter().for_each(|number| it.short(*number));
            }),
        }
    }

    /// The length of an array in bytes comes first. What is between that and the
    /// first element, which begins at a multiple of `alignment`, is not counted.
    pub(super) fn array(
        &mut self,
        alignment: usize,
        elements: impl FnOnce(&mut Writer),
    ) {
        self.short(0);
        let place = self.bytes.len() - 4;
        self.align(alignment);
        let first = self.bytes.len();
        elements(self);
        let length = length(self.bytes.len() - first).to_le_bytes();
        self.bytes[place..place + 4].copy_from_slice(&length);
    }

    /// An array `a(sv)`: names, and what is said of each.
    pub(super) fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |array| {
            for (name, value) in properties {
                array.align(8);
                array.text(name);
                array.variant(value);
            }
        });
    }
}

/// A message has 128 MiB at most; ours come from a path and some numbers.
fn length(length: usize) -> u32 {
    u32::try_from(length).expect("ours are short")
}

/// Values that were received. What does not add up is an error.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Which byte of a number comes first is the sender's choice.
    is_little: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], is_little: bool) -> Reader<'a> {
        let at = 0;
        Reader {
            bytes,
            at,
            is_little,
        }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    pub(super) fn take(&mut self, length: usize) -> anyhow::Result<&'a [u8]> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        self.at = self.at.saturating_add(length);
        taken.context("a message of D-Bus ends too early")
    }

    pub(super) fn byte(&mut self) -> anyhow::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn short(&mut self) -> anyhow::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into()?;
        Ok(match self.is_little {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        })
    }

    /// A text, or the name of an object.
    pub(super) fn text(&mut self) -> anyhow::Result<&'a str> {
        let length = self.short()?;
        self.ended(length as usize)
    }

    pub(super) fn signature(&mut self) -> anyhow::Result<&'a str> {
        let length = self.byte()?;
        self.ended(usize::from(length))
    }

    fn ended(&mut self, length: usize) -> anyhow::Result<&'a str> {
        let text = str::from_utf8(self.take(length)?)?;
        ensure!(self.byte()? == 0, "a text of D-Bus has no end");
        Ok(text)
    }

    /// A variant that holds a text or a number of 32 bits, as those of a
    /// message's header do: the text, and 0, or nothing, and the number.
    pub(super) fn variant(&mut self) -> anyhow::Result<(&'a str, u32)> {
        Ok(match self.signature()? {
            "s" | "o" => (self.text()?, 0),
            "g" => (self.signature()?, 0),
            "u" => ("", self.short()?),
            other => bail!("D-Bus: what is a {other:?} in a header?"),
        })
    }
}
