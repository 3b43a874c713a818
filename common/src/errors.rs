//! What the reader sees when something fails.
//!
//! A message is the failed call as strace(1) prints it, with the aim in front
//! and the errno behind; where one cause is usual, a second line says what to
//! do, and a third which page of the book explains it:
//!
//! ```text
//! step03-mount: making "/" the root: pivot_root(".", "."): EBUSY: Device or resource busy
//!   hint: …
//!   read: Step 3: a file system of its own (target/book/step03-mount.html)
//! ```
//!
//! A message holds names that others have chosen: files of an image, commands,
//! host names. Here is the one place where all of them are printed, and where
//! what would not stay in its line is escaped ([`escaped`]).

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    sync::OnceLock,
};

use nix::errno::Errno;

use crate::{host::program_name, sys};

mod advice;
mod errno;
pub mod hints;

pub use advice::{Advice, Page, pages};
pub use errno::errno;

/// The aim of all that is done for the default root file system. The table of
/// hints knows it by this name.
pub(crate) const PREPARING: &str = "preparing the default root file system";

/// The exit code for "the tool failed", as with Docker; 126 and 127 say that
/// the command could not be run, 128+n that signal n killed it.
pub const FAILED: u8 = 125;

/// The command could not be started: the context that carries the exit code
/// which shells and Docker use for this.
#[derive(Debug)]
pub struct CannotRun {
    /// The command as it was asked for.
    pub command: OsString,
    /// 126: found, but it can't be executed. 127: not found.
    pub code: u8,
}

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "running {}", sys::quoted(&self.command))
    }
}

/// Tells that something has failed: `error` in one line, and below it the hint
/// that goes with it. Returns the exit code that belongs to the error.
pub fn failure(error: &anyhow::Error) -> u8 {
    tell(Message::Failure(error));
    error
        .downcast_ref::<CannotRun>()
        .map_or(FAILED, |cannot_run| cannot_run.code)
}

/// What to do about `error`: what somebody has attached to it, or else what the
/// table of hints says.
pub fn advice(error: &anyhow::Error) -> Option<Advice> {
    let attached = error.downcast_ref().cloned();
    attached.or_else(|| hints::find(error))
}

/// Tells that the container runs, but not as it should, in one line.
pub fn warning(error: &anyhow::Error) {
    tell(Message::Warning(error));
}

/// Something to be said.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The container can't run, or runs no more.
    Failure(&'a anyhow::Error),
    /// It runs, but not as it should.
    Warning(&'a anyhow::Error),
}

/// Tells whoever listens, which is the reader unless somebody else was named.
fn tell(message: Message) {
    LISTENER.get().map_or(print as Listener, |it| *it)(message);
}

/// Tells the reader.
pub fn print(message: Message) {
    match message {
        Message::Warning(error) => {
            say(&[format!("warning: {}", one_line(error))]);
        }
        Message::Failure(error) => say(&lines(error)),
    }
}

fn lines(error: &anyhow::Error) -> Vec<String> {
    let mut lines = vec![one_line(error)];
    lines.extend(advice(error).iter().flat_map(Advice::lines));
    lines
}

/// What [`failure`] tells the reader, for somebody else to print.
pub fn text(error: &anyhow::Error) -> String {
    text_of(&lines(error))
}

/// Has this process, and those that it will fork, tell `listener` instead of the
/// reader: for programs that write a log, since nobody is at a terminal, and for
/// those that only try whether there would be something to be said.
pub fn hand_to(listener: Listener) {
    LISTENER.get_or_init(|| listener);
}

/// Somebody who is told.
pub type Listener = fn(Message);

static LISTENER: OnceLock<Listener> = OnceLock::new();

/// The links of an error's chain, from the aim to the errno. [`Advice`] among
/// them is for a line of its own.
pub fn one_line(error: &anyhow::Error) -> String {
    let advice = error.downcast_ref::<Advice>().map(Advice::to_string);
    let parts: Vec<String> = error
        .chain()
        .map(describe)
        .filter(|part| Some(part) != advice.as_ref())
        .collect();
    escaped(&parts.join(": "))
}

/// `text` with nothing in it that a terminal would obey: line breaks, escape
/// sequences and other characters that don't print are written as in a literal
/// (`\n`, `\u{1b}`), which is what `{:?}` does with the names in our messages.
/// What that has escaped already stays as it is.
pub fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => line.push(character),
            _ => line.extend(character.escape_debug()),
        }
    }
    line
}

/// Prints `lines` behind the program's name, in one write, so that two
/// processes that share a terminal do not mix their lines.
fn say(lines: &[String]) {
    // A failure to print has nowhere left to go.
    let _ = io::stderr().write_all(text_of(lines).as_bytes());
}

fn text_of(lines: &[String]) -> String {
    let mut text = escaped(program_name()) + ": ";
    for line in lines {
        text += &escaped(line);
        text.push('\n');
    }
    text
}

/// One link of an error's chain. The standard library prints an errno as a
/// number; we print its name, which is what the man pages use.
fn describe(link: &(dyn std::error::Error + 'static)) -> String {
    let errno = link
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    match errno {
        Some(number) => Errno::from_raw(number).to_string(),
        None => link.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escaped("a\nb\t\x1b[31m\r\0"), r"a\nb\t\u{1b}[31m\r\0");
        // CSI in one character; text that turns around what follows it.
        assert_eq!(escaped("\u{9b}31m \u{202e}"), r"\u{9b}31m \u{202e}");
    }

    #[test]
    fn what_prints_stays_and_nothing_is_escaped_twice() {
        let plain = r#"execve("/bin/\u{1b}'é…"): ENOENT"#;
        assert_eq!(escaped(plain), plain);
        assert_eq!(escaped(&escaped("\n")), r"\n");
    }

    #[test]
    fn advice_is_no_part_of_the_message() {
        let error = anyhow::Error::from(Errno::EINVAL)
            .context("call()")
            .context(Advice::only("do"))
            .context("aim");
        assert_eq!(one_line(&error), "aim: call(): EINVAL: Invalid argument");
    }
}
