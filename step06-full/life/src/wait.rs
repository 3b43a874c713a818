//! Waiting for the end of a container.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread::sleep,
    time::Duration,
};

use anyhow::Context;

use crate::{
    Container, Status,
    record::{self, STATE, State},
};

/// The exit code, once more, in a file that is always the same one: whoever has
/// it open can read it when the container is removed.
pub(crate) const CODE: &str = "code";

impl Container {
    /// Waits until this run of it has ended. Returns its exit code, if somebody
    /// has lived to see it; of a container that does not run it is that of the
    /// last run.
    ///
    /// # Errors
    /// What is known of it can't be read.
    pub fn wait(&self) -> anyhow::Result<Option<u8>> {
        while self.is_alive()? {
            let state: Option<State> = record::read(&self.running(), STATE)?;
            let code = File::open(self.lasting().join(CODE));
            if let (Some(state), Ok(code)) = (state, code) {
                state.monitor.wait()?;
                return read_code(code);
            }
            // It is about to begin, or to end.
            sleep(Duration::from_millis(1));
        }
        Ok(match self.status()? {
            Status::Created => Some(0),
            Status::Exited(_, code) => Some(code),
            _ => None,
        })
    }
}

/// What [`write_code`] has written at the end; `None` if nobody has seen it.
pub(crate) fn read_code(mut file: File) -> anyhow::Result<Option<u8>> {
    let mut text = String::new();
    file.read_to_string(&mut text).context("read(code)")?;
    Ok(text.trim().parse().ok())
}

/// For the monitor: writes the file, with nothing in it until the end. It is
/// always as long, so that there is room for it when the disk is full.
pub(crate) fn write_code(dir: &Path, code: Option<u8>) -> anyhow::Result<()> {
    let path = dir.join(CODE);
    let text = code.map_or(String::new(), |it| it.to_string());
    // Not beside it: somebody has it open.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let written = options
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{text:3}\n").as_bytes()));
    written.with_context(|| format!("writing {path:?}"))
}
