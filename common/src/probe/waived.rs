//! What is not enforced in this run.

use std::sync::Mutex;

use crate::errors::escaped;

/// Remembers that `what` is not enforced in this run, and why. The scoreboard
/// then shows the row of that name as "not tried".
///
/// Must be called before the container's process is created: what it shall
/// know it inherits. Printing the warning is the caller's business.
pub fn waive(what: &'static str, reason: &str) {
    let mut waived = WAIVED.lock().unwrap_or_else(|poison| poison.into_inner());
    waived.push((what, escaped(reason)));
}

/// What [`waive`] has collected so far.
pub(crate) fn waived() -> Vec<(&'static str, String)> {
    WAIVED
        .lock()
        .unwrap_or_else(|poison| poison.into_inner())
        .clone()
}

static WAIVED: Mutex<Vec<(&'static str, String)>> = Mutex::new(Vec::new());
