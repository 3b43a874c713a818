//! A moment that somebody types, as Docker takes it.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, bail, ensure};

use super::Instant;

/// How long ago (`10m`, `1h30m`), a date with or without a time
/// (`2026-11-29T13:15:58Z`; without a zone it is in UTC), or seconds since 1970.
impl FromStr for Instant {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Instant> {
        let seconds = |text: &str| -> anyhow::Result<Duration> {
            Ok(Duration::try_from_secs_f64(text.parse()?)?)
        };
        let read = || {
            if text.ends_with(|it: char| it.is_ascii_digit())
                && !text.contains(['-', ':'])
            {
                return Ok(Instant::since_1970(seconds(text)?));
            }
            match text.contains('-') {
                true => moment(text),
                false => Ok(Instant::now().before(duration(text)?)),
            }
        };
        read().with_context(|| {
            format!(
                "{text:?} is no moment such as 10m, 1h30m or \
                 2026-11-29T13:15:58Z"
            )
        })
    }
}

/// Numbers with units: `1h30m`.
fn duration(text: &str) -> anyhow::Result<Duration> {
    ensure!(!text.is_empty(), "there is nothing");
    let mut all = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let is_number = |it: char| it.is_ascii_digit() || it == '.';
        let end = rest.find(|it| !is_number(it)).context("there is no unit")?;
        let (number, after) = rest.split_at(end);
        let end = after.find(is_number).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => bail!("the units are h, m, s and ms"),
        };
        let number: f64 = number.parse()?;
        let more = Duration::try_from_secs_f64(number * seconds)?;
        all = all.checked_add(more).context("it is too long")?;
        rest = after;
    }
    Ok(all)
}

fn moment(text: &str) -> anyhow::Result<Instant> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00"),
    };
    let (time, ahead) = zone(time)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let is_fraction = fraction.len() <= 9
        && !fraction.is_empty()
        && fraction.bytes().all(|it| it.is_ascii_digit());
    ensure!(is_fraction, "{fraction:?} is no fraction of a second");
    let nanoseconds = format!("{fraction:0<9}").parse()?;
    let [year, month, day] = numbers(date, '-')?[..] else {
        bail!("a date has three numbers");
    };
    let (hour, minute, second) = match numbers(time, ':')?[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => bail!("a time has two or three numbers"),
    };
    ensure!(
        (1970..10_000).contains(&year),
        "there is no year {year} here"
    );
    ensure!((1..=12).contains(&month), "there is no month {month}");
    let next = match month {
        12 => days_before(year + 1, 1),
        _ => days_before(year, month + 1),
    };
    let days = next - days_before(year, month);
    ensure!((1..=days).contains(&day), "there is no day {day}");
    ensure!(
        hour < 24 && minute < 60 && second < 61,
        "there is no such time"
    );
    let days = days_before(year, month) + day - 1;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - ahead;
    let seconds = u64::try_from(seconds).context("it is before 1970")?;
    Ok(Instant::since_1970(Duration::new(seconds, nanoseconds)))
}

/// A time without its zone, and by how many seconds that is ahead of UTC.
fn zone(time: &str) -> anyhow::Result<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Ok((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else {
        return Ok((time, 0));
    };
    let (time, zone) = time.split_at(at);
    let [hours, minutes] = numbers(&zone[1..], ':')?[..] else {
        bail!("a zone is Z, or as +01:00");
    };
    ensure!(hours < 24 && minutes < 60, "there is no such zone");
    let seconds = (hours * 60 + minutes) * 60;
    let is_behind = zone.starts_with('-');
    Ok((time, if is_behind { -seconds } else { seconds }))
}

fn numbers(text: &str, between: char) -> anyhow::Result<Vec<i64>> {
    let numbers = text.split(between).map(|it| {
        let is_number =
            !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
        ensure!(is_number, "{it:?} is no number");
        Ok(it.parse()?)
    });
    numbers.collect()
}

/// From 1970 to the first of this month.
fn days_before(year: i64, month: i64) -> i64 {
    // Counted from March on, so that a leap day is the last one of its year.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400;
    days + (153 * month + 2) / 5 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_is_printed() {
        for (text, expected) in [
            ("1970-01-01", "1970-01-01T00:00:00.000000000Z"),
            ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000000000Z"),
            ("2100-03-01 00:01", "2100-03-01T00:01:00.000000000Z"),
            (
                "2026-11-29T13:15:58.5+01:30",
                "2026-11-29T11:45:58.500000000Z",
            ),
            ("951782400", "2000-02-29T00:00:00.000000000Z"),
            ("0.25", "1970-01-01T00:00:00.250000000Z"),
        ] {
            let read: Instant = text.parse().expect(text);
            assert_eq!(read.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_while_ago_is_a_moment() {
        let read = |text: &str| text.parse::<Instant>().expect(text);
        let hour = Duration::from_secs(3600);
        let ago = Instant::now().before(hour);
        let half = Instant::now().before(hour / 2);
        assert!(
            read("1h") >= ago && read("60m") < half && read("30.5m") < half
        );
        assert!(read("1h30m500ms") < ago);
        for bad in [
            "",
            "x",
            "5y",
            "-1h",
            "h",
            "2026-13-01",
            "2026-02-29",
            "2026-00-01",
            "1e99h",
            "2026-11-29T00:00:00+999999999999999999:00",
            "2026-11-29T00:00:00.18446744073709550e20",
            "2026-11-29T00:00:00.",
        ] {
            bad.parse::<Instant>().expect_err(bad);
        }
    }
}
