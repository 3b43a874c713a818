//! What is said while an image is fetched: on a terminal a line that changes,
//! elsewhere a line for each layer.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use step06_image::{Digest, Image, Listener, News};
use step06_network::publish::Publisher;

/// How often the line changes.
const INTERVAL: Duration = Duration::from_millis(100);

/// Does `pull`, and says on standard error how far it is.
pub(crate) fn while_pulling(
    pull: impl FnOnce(Listener) -> anyhow::Result<Image>,
) -> anyhow::Result<Image> {
    let mut progress = Progress {
        is_terminal: stderr().is_terminal(),
        shown: None,
        last: None,
    };
    let pulled = pull(&mut |news| progress.hear(&news));
    progress.clear();
    pulled
}

struct Progress {
    is_terminal: bool,
    /// When the line has changed last.
    shown: Option<Instant>,
    /// What is being fetched.
    last: Option<Digest>,
}

impl Progress {
    fn hear(&mut self, news: &News) {
        match news {
            News::Fetching { digest, done, size } => {
                let is_new = self.last.as_ref() != Some(*digest);
                self.last = Some((*digest).clone());
                let text =
                    format!("{} {}", digest.short(), fetching(*done, *size));
                if self.is_terminal {
                    self.change(&text, *done == *size || is_new);
                } else if is_new {
                    self.line(&format!(
                        "{} {}",
                        digest.short(),
                        fetching(0, *size)
                    ));
                }
            }
            News::Unpacking { digest } => {
                self.line(&format!("{} unpacking", digest.short()));
            }
            News::Note(text) => self.line(text),
        }
    }

    /// Changes the line, unless it has just been.
    fn change(&mut self, text: &str, at_once: bool) {
        let recent = self.shown.is_some_and(|it| it.elapsed() < INTERVAL);
        if at_once || !recent {
            // "\r" goes to the line's beginning, "ESC [K" empties the rest.
            say(&format!("\r{text}\x1b[K"));
            self.shown = Some(Instant::now());
        }
    }

    fn line(&mut self, text: &str) {
        self.clear();
        say(&format!("{text}\n"));
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            say("\r\x1b[K");
        }
    }
}

/// Says which ports were chosen; the others somebody knows who has typed them.
pub(crate) fn say_ports(publisher: &Publisher) {
    for port in publisher.ports.iter().filter(|it| it.is_chosen) {
        say(&format!("published: {}\n", port.text));
    }
}

/// `done` of `size` bytes, as people read it.
fn fetching(done: u64, size: u64) -> String {
    let human = |bytes: u64| match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    };
    match done {
        0 => format!("fetching {}", human(size)),
        _ => format!("fetching {} of {}", human(done), human(size)),
    }
}

/// Nothing depends on its being read.
pub(crate) fn say(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

/// Prints what a command was asked for.
pub(crate) fn print(text: &str) -> anyhow::Result<ExitCode> {
    stdout().write_all(text.as_bytes()).context("write(1)")?;
    Ok(ExitCode::SUCCESS)
}
