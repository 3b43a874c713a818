//! Somebody outside who waits for the command's start.

use std::{
    cell::Cell,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    rc::Rc,
};

use super::Workload;
use crate::{errors, sys};

/// What is written to who waits when the command has begun.
pub const STARTED: &str = "started";

/// The end of a pipe, until the word was given.
#[derive(Clone, Default)]
pub(super) struct Waiting(Rc<Cell<Option<OwnedFd>>>);

impl Workload {
    /// The same workload; [`Workload::spawn`] writes [`STARTED`] to `told` when
    /// the command's program runs, or else what has gone wrong.
    #[must_use]
    pub fn awaited_by(self, told: OwnedFd) -> Workload {
        let waiting = Waiting(Rc::new(Cell::new(Some(told))));
        Workload { waiting, ..self }
    }
}

impl Waiting {
    /// What must stay open.
    pub(super) fn number(&self) -> Option<RawFd> {
        let told = self.0.take();
        let number = told.as_ref().map(AsRawFd::as_raw_fd);
        self.0.set(told);
        number
    }

    /// Gives the word, and lets go of who has waited. Whoever has ended
    /// meanwhile does not hear it, and needs not.
    pub(super) fn tell<T>(&self, started: &anyhow::Result<T>) {
        if let Some(told) = self.0.take() {
            let word = match started {
                Ok(_) => STARTED.to_owned(),
                Err(error) => errors::text(error),
            };
            let _ = sys::write(told, word);
        }
    }
}
