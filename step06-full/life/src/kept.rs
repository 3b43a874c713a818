//! What is kept of a container: what it has written, and what it has printed.

use std::{fs, path::PathBuf};

use crate::{
    Container, Instant, Log,
    log::LOG,
    record::{self, LAST, Last},
};

/// Overlay's upper and work directories.
pub(crate) const LAYER: &str = "layer";

/// What a monitor in the background has to say.
pub(crate) const MESSAGES: &str = "messages";

impl Container {
    /// What it has printed; `None` if nobody has kept it.
    ///
    /// # Errors
    /// It can't be read.
    pub fn log(&self) -> anyhow::Result<Option<Log>> {
        Log::open(&self.lasting())
    }

    /// Where what it writes is kept: overlay's upper directory.
    pub fn upper(&self) -> PathBuf {
        self.lasting().join(LAYER).join("upper")
    }

    /// Where its log is.
    pub fn log_path(&self) -> PathBuf {
        self.lasting().join(LOG)
    }

    /// When it was started last.
    ///
    /// # Errors
    /// It can't be read.
    pub fn started(&self) -> anyhow::Result<Option<Instant>> {
        let last: Option<Last> = record::read(&self.lasting(), LAST)?;
        Ok(last.map(|it| it.started))
    }

    /// What its monitor had to say, if it was in the background.
    pub fn messages(&self) -> String {
        fs::read_to_string(self.lasting().join(MESSAGES)).unwrap_or_default()
    }
}
