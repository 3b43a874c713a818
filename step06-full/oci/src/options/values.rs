//! Values of options that are more than a number.

use std::time::Duration;

/// A number of bytes, as for Docker and runc: `67108864`, `64m`, `64MiB`, or `-1`
/// for no limit. The units are powers of 1024.
pub(super) fn bytes(text: &str) -> Result<i64, String> {
    let lower = text.to_lowercase();
    let short = lower.strip_suffix("ib").or(lower.strip_suffix('b'));
    let lower = short.unwrap_or(&lower);
    let units = [
        ("k", 1_i64 << 10),
        ("m", 1 << 20),
        ("g", 1 << 30),
        ("t", 1 << 40),
    ];
    let unit = units.into_iter().find(|(name, _)| lower.ends_with(name));
    let (name, factor) = unit.unwrap_or(("", 1));
    let number = lower.strip_suffix(name).unwrap_or(lower);
    let number = number.parse::<i64>().ok();
    let is_good = |it: &i64| *it >= 0 || (*it == -1 && factor == 1);
    let bytes = number.filter(is_good).and_then(|it| it.checked_mul(factor));
    bytes.ok_or_else(|| format!("{text:?} is no number of bytes, like 64m"))
}

/// A time as programs in Go have it: `5s`, `500ms`, `1m30s`; or a number of
/// seconds.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time, like 5s or 500ms");
    let mut all = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic);
        let (unit, behind) = behind.split_at(letters.count());
        let milliseconds = match unit {
            "ms" => 1,
            "s" | "" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        let number = number.parse::<u32>().map_err(|_| bad())?;
        all += Duration::from_millis(u64::from(number) * milliseconds);
        rest = behind;
    }
    match all.is_zero() {
        true => Err(bad()),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("67108864"), Ok(64 << 20));
        for text in ["64m", "64M", "64MB", "64MiB", "65536k"] {
            assert_eq!(bytes(text), Ok(64 << 20), "{text}");
        }
        assert_eq!(bytes("2G"), Ok(2 << 30));
        assert_eq!(bytes("-1"), Ok(-1));
        for text in ["", "m", "-1m", "-2", "1x", "1i", "9999999999g", "1 m"] {
            bytes(text).expect_err(text);
        }
    }

    #[test]
    fn times_are_those_of_go() {
        let time = |text| interval(text).map(|it| it.as_millis());
        assert_eq!(time("5s"), Ok(5000));
        assert_eq!(time("5"), Ok(5000));
        assert_eq!(time("1m30s"), Ok(90_000));
        assert_eq!(time("500ms"), Ok(500));
        for text in ["", "0", "0s", "s", "-1s", "5x", "1.5s", "99999999999s"] {
            interval(text).expect_err(text);
        }
    }
}
