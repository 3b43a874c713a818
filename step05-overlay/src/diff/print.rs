//! How a change is printed.
//!
//! The names come from inside a container. As they are, a line break in one
//! would make two changes of one, and the escape sequences of a terminal would
//! be obeyed by it.

use std::{
    fmt::Write as _,
    io::{self, BufWriter, StdoutLock, Write},
};

use anyhow::Context;
use serde_json::json;

/// Prints to the standard output while the comparison goes on.
pub(super) struct Printer {
    stdout: BufWriter<StdoutLock<'static>>,
    json: bool,
    /// What stands before the next object.
    separator: &'static str,
}

impl Printer {
    pub(super) fn new(json: bool) -> Printer {
        Printer {
            stdout: BufWriter::new(io::stdout().lock()),
            json,
            separator: "[\n",
        }
    }

    pub(super) fn print(
        &mut self,
        letter: char,
        path: &[u8],
    ) -> anyhow::Result<()> {
        let line = match self.json {
            true => format!("{}  {}", self.separator, as_json(letter, path)),
            false => format!("{letter} {}\n", escaped(path)),
        };
        self.separator = ",\n";
        self.stdout.write_all(line.as_bytes()).context("write(1)")
    }

    pub(super) fn end(mut self) -> anyhow::Result<()> {
        if self.json {
            let end = match self.separator {
                ",\n" => "\n]\n",
                _ => "[]\n",
            };
            self.stdout.write_all(end.as_bytes()).context("write(1)")?;
        }
        self.stdout.flush().context("write(1)")
    }
}

/// An object. Strings of JSON are Unicode, and a path need not be.
fn as_json(letter: char, path: &[u8]) -> String {
    let object = match str::from_utf8(path) {
        Ok(text) => json!({ "change": letter, "path": text }),
        Err(_) => json!({ "change": letter, "path_bytes": path }),
    };
    object.to_string()
}

/// A path that is one line and moves no cursor. `printf '%b'` of most shells
/// makes the path of it again.
fn escaped(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str(r"\\"),
                '\n' => text.push_str(r"\n"),
                hidden if is_hidden(hidden) => {
                    let mut bytes = [0; 4];
                    hex(&mut text, hidden.encode_utf8(&mut bytes).as_bytes());
                }
                other => text.push(other),
            }
        }
        hex(&mut text, chunk.invalid());
    }
    text
}

fn hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // To a string, this can't fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Control characters, and those that show nothing themselves but change how
/// others are shown: their order, for example.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printable_stays() {
        assert_eq!(escaped("/a b/é/'\"/日本".as_bytes()), "/a b/é/'\"/日本");
    }

    #[test]
    fn a_line_break_and_a_backslash_are_told_apart() {
        assert_eq!(escaped(b"/a\nb"), r"/a\nb");
        assert_eq!(escaped(br"/a\nb"), r"/a\\nb");
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_as_bytes() {
        assert_eq!(escaped(b"/\x1b[31m\x7f"), r"/\x1b[31m\x7f");
        // The same as one character, and what reverses the order of others.
        assert_eq!(
            escaped("/\u{9b}\u{202e}".as_bytes()),
            r"/\xc2\x9b\xe2\x80\xae"
        );
    }

    #[test]
    fn what_is_no_utf_8_is_written_as_bytes() {
        assert_eq!(escaped(b"/\xff\xc3"), r"/\xff\xc3");
        let json = as_json('A', b"/\xff");
        assert_eq!(json, r#"{"change":"A","path_bytes":[47,255]}"#);
        let json = as_json('A', "/é\n".as_bytes());
        assert_eq!(json, r#"{"change":"A","path":"/é\n"}"#);
    }
}
