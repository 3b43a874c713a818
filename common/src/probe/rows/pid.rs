//! What step 2 isolates.

use nix::{
    sys::signal::kill,
    unistd::{Pid, getpid},
};

use super::{Attempt, Row, always, refused};
use crate::probe::host::{HARMLESS, is_pending};

pub(super) const ROWS: &[Row] = &[Row {
    name: "signals to host processes",
    control: always,
    attempt: Attempt::Here(|host| {
        kill(Pid::from_raw(host.pid), HARMLESS).map_err(refused)?;
        Ok(String::new())
    }),
    reached: |_, _| is_pending(HARMLESS, getpid()),
}];
