//! Waiting for a condition, where a sleep would be a guess.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take, on a busy machine, before a test fails.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Waits until `condition` gives a value, and returns that. Panics after
/// [`LIMIT`], naming `what` it waited for.
pub fn wait_until<T>(
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "waited in vain for {what}");
        sleep(Duration::from_millis(1));
    }
}
