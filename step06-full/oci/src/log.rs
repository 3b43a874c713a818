//! `--log`: where callers read why something has failed.
//!
//! containerd's shim shows the last line of level "error" to its user; conmon
//! reads standard error. So an error goes to both. A warning goes to the file
//! only: standard error may be that of the container.

use std::{fs::File, io::Write, path::PathBuf, sync::OnceLock};

use common::errors::Message;
use nix::time::ClockId;

use crate::options::LogFormat;

/// Opened at the start; the file is closed at exec.
static LOG: OnceLock<(File, LogFormat)> = OnceLock::new();

/// Writes to `path` from now on, and has common's messages come here, too.
pub(crate) fn open(
    path: Option<&PathBuf>,
    format: LogFormat,
) -> anyhow::Result<()> {
    common::errors::hand_to(|message| match message {
        Message::Failure(error) => write("error", error),
        Message::Warning(error) => write("warning", error),
    });
    let Some(path) = path else { return Ok(()) };
    let file = File::options().create(true).append(true).open(path);
    let file = file.map_err(|error| {
        anyhow::Error::from(error).context(format!("opening the log {path:?}"))
    })?;
    let _ = LOG.set((file, format));
    Ok(())
}

/// Says that a verb has failed: in the log, and on standard error.
pub(crate) fn failure(error: &anyhow::Error) {
    write("error", error);
    let text = one_line(error);
    // Nobody may read it; there is nothing else to be done.
    let _ = writeln!(std::io::stderr(), "step06-oci: error: {text}");
}

/// Something went wrong that does not stop the verb.
pub(crate) fn warning(error: &anyhow::Error) {
    write("warning", error);
}

fn write(level: &str, error: &anyhow::Error) {
    let Some((file, format)) = LOG.get() else {
        return;
    };
    let (text, time) = (one_line(error), now());
    let line = match format {
        LogFormat::Json => {
            serde_json::json!({"level": level, "msg": text, "time": time})
                .to_string()
        }
        LogFormat::Text => {
            format!("time={time:?} level={level} msg={text:?}")
        }
    };
    let _ = writeln!(&mut &*file, "{line}");
}

/// The error with its causes; what would not stay in its line is escaped.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let letters = text.chars().map(|letter| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    });
    letters.collect()
}

/// The time, as RFC 3339 has it.
pub(crate) fn now() -> String {
    let now = common::sys::clock_gettime(ClockId::CLOCK_REALTIME);
    let (seconds, nanoseconds) =
        now.map_or((0, 0), |now| (now.tv_sec(), now.tv_nsec()));
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.\
         {nanoseconds:09}Z"
    )
}

/// The date that is so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let is_leap =
        |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut left) = (1970, days);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_786), (2026, 11, 29));
    }
}
