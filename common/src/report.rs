//! What the reader sees when something fails.
//!
//! A message is the failed call as strace(1) prints it, with the aim in front
//! and the errno behind; where one cause is usual, a second line says what to
//! do, and a third which page of the book explains it:
//!
//! ```text
//! step03-mount: entering the root file system: pivot_root(".", "."): EINVAL: Invalid argument
//!   hint: …
//!   read: book/src/step03-mount.md
//! ```

use std::{
    fmt,
    io::{self, Write},
    sync::Mutex,
};

use nix::errno::Errno;

use crate::{hints, program_name};

/// The exit code for "the tool failed", as with Docker; 126 and 127 say that
/// the command could not be run, 128+n that signal n killed it.
pub const FAILED: u8 = 125;

/// Advice for one failure, attached as the outermost context of an error. It is
/// printed in place of what the table of hints says.
#[derive(Debug)]
pub struct Hint {
    /// What is behind it, and what to do.
    pub advice: String,
    /// The page of the book that explains it, as a path in the workspace.
    pub page: Option<&'static str>,
}

/// The lines below the message.
impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  hint: {}", self.advice)?;
        match self.page {
            Some(page) => write!(f, "\n  read: {page}"),
            None => Ok(()),
        }
    }
}

/// The command could not be started: the context that carries the exit code
/// which shells and Docker use for this.
#[derive(Debug)]
pub struct CannotRun {
    /// The command as it was asked for.
    pub command: String,
    /// 126: found, but it can't be executed. 127: not found.
    pub code: u8,
}

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "running {:?}", self.command)
    }
}

/// Prints `error` in one line, and below it the hint that goes with it.
/// Returns the exit code that belongs to the error.
pub fn failure(error: &anyhow::Error) -> u8 {
    let hint = match error.downcast_ref::<Hint>() {
        Some(hint) => Some(hint.to_string()),
        None => hints::find(error).map(|usual| {
            let advice = format!("{}: {}", usual.cause, usual.fix);
            let page = Some(usual.page);
            Hint { advice, page }.to_string()
        }),
    };
    say(&one_line(error));
    if let Some(hint) = hint {
        // A failure to print has nowhere left to go.
        let _ = writeln!(io::stderr(), "{hint}");
    }
    error
        .downcast_ref::<CannotRun>()
        .map_or(FAILED, |cannot_run| cannot_run.code)
}

/// The links of an error's chain, from the aim to the errno. A [`Hint`] among
/// them is for a line of its own.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let hint = error.downcast_ref::<Hint>().map(Hint::to_string);
    let parts: Vec<String> = error
        .chain()
        .map(describe)
        .filter(|part| Some(part) != hint.as_ref())
        .collect();
    parts.join(": ")
}

/// Prints one line of warning: the container runs, but not as it should.
pub fn warning(text: &str) {
    say(&format!("warning: {text}"));
}

/// Remembers that `what` is not enforced in this run, and why. The scoreboard
/// then shows the row of that name as "not tried".
///
/// Must be called before the container's process is created: what it shall
/// know it inherits. Printing the warning is the caller's business.
pub fn waive(what: &'static str, reason: &str) {
    let mut waived = WAIVED.lock().unwrap_or_else(|poison| poison.into_inner());
    waived.push((what, reason.to_owned()));
}

/// What [`waive`] has collected so far.
pub(crate) fn waived() -> Vec<(&'static str, String)> {
    WAIVED
        .lock()
        .unwrap_or_else(|poison| poison.into_inner())
        .clone()
}

static WAIVED: Mutex<Vec<(&'static str, String)>> = Mutex::new(Vec::new());

/// Prints `text` behind the program's name, in one write, so that two
/// processes that share a terminal do not mix their lines.
fn say(text: &str) {
    let line = format!("{}: {text}\n", program_name());
    // A failure to print has nowhere left to go.
    let _ = io::stderr().write_all(line.as_bytes());
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

/// The errno at the end of an error's chain.
pub(crate) fn errno(error: &anyhow::Error) -> Option<Errno> {
    let root = error.root_cause();
    if let Some(error) = root.downcast_ref::<io::Error>() {
        return error.raw_os_error().map(Errno::from_raw);
    }
    root.downcast_ref::<Errno>().copied()
}
