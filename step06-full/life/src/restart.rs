//! What is removed at its end, and yet is to be started again.

use std::{fs, path::Path};

use nix::unistd::getpid;

use crate::{
    Container,
    record::{self, Process},
};

/// Who restarts it.
const RESTART: &str = "restart.json";

impl Container {
    /// Keeps it at its next end, also with `--rm`, for as long as this process
    /// lives, or until it was started.
    ///
    /// # Errors
    /// That can't be written down.
    pub fn keep_for_restart(&self) -> anyhow::Result<()> {
        let restarter = Process::of(getpid())?;
        record::write(&self.lasting(), RESTART, &restarter)
    }
}

/// Whether somebody keeps the container that has `dir`.
pub(crate) fn is_kept(dir: &Path) -> bool {
    let known: anyhow::Result<Option<Process>> = record::read(dir, RESTART);
    let restarter = known.ok().flatten();
    restarter.is_some_and(|it| !it.is_gone())
}

/// It was started.
pub(crate) fn keep_no_more(dir: &Path) {
    // There is none, most of the time.
    let _ = fs::remove_file(dir.join(RESTART));
}
