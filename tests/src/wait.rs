//! Waiting for a condition, where a sleep would be a guess.

use std::{
    env,
    sync::LazyLock,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take, on a busy machine, before a test fails. On a slow
/// machine, `SUITE_TIME_FACTOR` times as long.
pub static LIMIT: LazyLock<Duration> = LazyLock::new(|| {
    let factor = env::var("SUITE_TIME_FACTOR");
    let factor = factor.map_or(1, |it| it.parse().expect("a whole number"));
    Duration::from_secs(20) * factor
});

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
        assert!(start.elapsed() < *LIMIT, "waited in vain for {what}");
        sleep(Duration::from_millis(1));
    }
}
