//! A moment, as people and programs read it.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

mod read;

/// A moment, in nanoseconds since 1970.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Instant(u64);

impl Instant {
    /// This moment, by the clock of the machine, which can be set back.
    pub fn now() -> Instant {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Instant::since_1970(since.unwrap_or_default())
    }

    pub(crate) fn since_1970(time: Duration) -> Instant {
        Instant(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    /// So much earlier.
    pub(crate) fn before(self, time: Duration) -> Instant {
        Instant(self.0.saturating_sub(Instant::since_1970(time).0))
    }

    /// How long ago it was, as Docker says it: `3 minutes`.
    pub fn age(self) -> String {
        let age = Instant::now().0.saturating_sub(self.0);
        in_words(Duration::from_nanos(age))
    }
}

/// As in RFC 3339, with nanoseconds: `2026-11-29T13:15:58.000000000Z`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanoseconds) =
            (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) =
            (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}\
             .{nanoseconds:09}Z"
        )
    }
}

/// The date that is so many days after the first of January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from the first of March of year 0, a leap day is the last day of
    // its year, and each span of 400 years has the same number of days.
    let days = days + 719_468;
    let (span, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let year = 400 * span + year;
    match month {
        0..10 => (year, month + 3, day_of_month),
        _ => (year + 1, month - 9, day_of_month),
    }
}

/// As Docker rounds it.
fn in_words(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 => format!("{minutes} minutes"),
        3600..7200 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 730 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_printed_as_date_does() {
        let at = |seconds: u64| Instant(seconds * 1_000_000_000).to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000000000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn an_age_is_in_dockers_words() {
        let words = |seconds| in_words(Duration::from_secs(seconds));
        assert_eq!(words(0), "Less than a second");
        assert_eq!(words(59), "59 seconds");
        assert_eq!(words(61), "About a minute");
        assert_eq!(words(3 * 3600), "3 hours");
        assert_eq!(words(50 * 3600), "2 days");
    }
}
