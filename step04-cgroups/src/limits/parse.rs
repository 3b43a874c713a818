//! How limits are written on the command line.

use super::PERIOD;

pub(super) const MIB: u64 = 1024 * 1024;

/// Docker's minimum. A shell alone can do with less.
const MIN_MEMORY: u64 = 6 * MIB;

/// Reads a number of bytes the way Docker writes it: `67108864`, `64m`, `1G`.
pub(super) fn parse_memory(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = match lower.as_bytes().last() {
        Some(b'b') => (&lower[..lower.len() - 1], 1),
        Some(b'k') => (&lower[..lower.len() - 1], 1024),
        Some(b'm') => (&lower[..lower.len() - 1], MIB),
        Some(b'g') => (&lower[..lower.len() - 1], 1024 * MIB),
        _ => (lower.as_str(), 1),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err("not a number of bytes: write a whole number, alone or \
                    with b, k, m or g behind it, like 64m"
            .into());
    }
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or("too large: the number of bytes must fit in 64 bits")?;
    if bytes < MIN_MEMORY {
        return Err("too small: the smallest is 6m, as with Docker".into());
    }
    Ok(bytes)
}

/// Reads a number of CPUs: 0.01 to 8192, in steps of 0.00001.
///
/// The lower end is the kernel's shortest quota, 1000 µs in a [`PERIOD`]; the
/// upper end is the most processors that a Linux kernel can have.
pub(super) fn parse_cpus(text: &str) -> Result<f64, String> {
    let cpus: f64 = text
        .parse()
        .map_err(|_| "not a number of CPUs: write it like 2 or 0.5")?;
    // `contains` is false for `nan`, too.
    if !(0.01..=8192.0).contains(&cpus) {
        return Err("out of range: write a number from 0.01 to 8192".into());
    }
    if (microseconds(cpus) - microseconds(cpus).round()).abs() > 0.001 {
        return Err("too precise: five digits after the point are enough \
                    for the kernel"
            .into());
    }
    Ok(cpus)
}

/// What [`parse_cpus`] has let pass, as microseconds of processor time in a
/// [`PERIOD`].
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is a whole number from 1000 to 819,200,000, almost"
)]
pub(super) fn quota(cpus: f64) -> u64 {
    microseconds(cpus).round() as u64
}

fn microseconds(cpus: f64) -> f64 {
    cpus * PERIOD as f64
}

/// Reads a number of processes: 1 to 4194304, which is the kernel's own limit.
pub(super) fn parse_pids(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(pids @ 1..=4_194_304) => Ok(pids),
        _ => Err("not a number of processes: write a whole number from 1 to \
                  4194304"
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_written_as_for_docker() {
        assert_eq!(parse_memory("64m"), Ok(64 * MIB));
        assert_eq!(parse_memory("64M"), Ok(64 * MIB));
        assert_eq!(parse_memory("50M"), Ok(52_428_800));
        assert_eq!(parse_memory("1g"), Ok(1024 * MIB));
        assert_eq!(parse_memory("8192K"), Ok(8 * MIB));
        assert_eq!(parse_memory("67108864"), Ok(64 * MIB));
        assert_eq!(parse_memory("67108864b"), Ok(64 * MIB));
        assert_eq!(parse_memory("6m"), Ok(MIN_MEMORY));
    }

    #[test]
    fn memory_that_makes_no_sense_is_refused() {
        for text in ["", "m", "64x", "64mb", "-1", "+64m", "6.5m", " 64m", "ß"]
        {
            let error = parse_memory(text).expect_err(text);
            assert!(error.starts_with("not a number"), "{text}: {error}");
        }
        for text in ["0", "0g", "1m", "6291455"] {
            let error = parse_memory(text).expect_err(text);
            assert!(error.starts_with("too small"), "{text}: {error}");
        }
        for text in ["18446744073709551616", "17179869184g"] {
            let error = parse_memory(text).expect_err(text);
            assert!(error.starts_with("too large"), "{text}: {error}");
        }
    }

    #[test]
    fn cpus_become_a_quota() {
        for (text, expected) in [
            ("0.5", 50_000),
            ("2", 200_000),
            ("0.01", 1_000),
            ("0.29", 29_000),
            ("0.12345", 12_345),
            ("8192", 819_200_000),
        ] {
            let cpus = parse_cpus(text).expect(text);
            assert_eq!(quota(cpus), expected, "{text}");
        }
    }

    #[test]
    fn cpus_that_the_kernel_cannot_count_are_refused() {
        for text in ["", "x", "1,5", "0.5 "] {
            let error = parse_cpus(text).expect_err(text);
            assert!(error.starts_with("not a number"), "{text}: {error}");
        }
        for text in ["0", "-1", "nan", "inf", "-inf", "0.009", "1e300"] {
            let error = parse_cpus(text).expect_err(text);
            assert!(error.starts_with("out of range"), "{text}: {error}");
        }
        let error = parse_cpus("0.123456").expect_err("six digits");
        assert!(error.starts_with("too precise"), "{error}");
    }

    #[test]
    fn at_least_one_process_is_allowed() {
        assert_eq!(parse_pids("1"), Ok(1));
        assert_eq!(parse_pids("4194304"), Ok(4_194_304));
        for text in ["0", "-1", "4194305", "1.5", "", "x"] {
            parse_pids(text).expect_err(text);
        }
    }
}
