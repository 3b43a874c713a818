//! What is true of a container, in a word.

use crate::Instant;

/// What is true of a container at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Status {
    /// It was not started yet.
    Created,
    /// Its monitor lives, since this moment.
    Running(Option<Instant>),
    /// The same, but none of its processes gets any time.
    Paused(Option<Instant>),
    /// It has ended, with this exit code.
    Exited(Instant, u8),
    /// It has ended, and nobody lives who has seen how.
    Dead,
}

impl Status {
    /// In Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running(_) => "running",
            Status::Paused(_) => "paused",
            Status::Exited(..) => "exited",
            Status::Dead => "dead",
        }
    }

    /// In Docker's words, as in the column of `ps`.
    pub fn text(self) -> String {
        let up = |since: Option<Instant>| {
            let age = since.map_or("a moment".into(), Instant::age);
            format!("Up {age}")
        };
        match self {
            Status::Created => "Created".into(),
            Status::Running(since) => up(since),
            Status::Paused(since) => up(since) + " (Paused)",
            Status::Exited(moment, code) => {
                format!("Exited ({code}) {} ago", moment.age())
            }
            Status::Dead => "Dead".into(),
        }
    }

    /// Whether there are processes.
    pub fn is_alive(self) -> bool {
        matches!(self, Status::Running(_) | Status::Paused(_))
    }
}
