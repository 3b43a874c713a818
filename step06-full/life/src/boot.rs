//! Which run of the machine it is: what was written down in an earlier one says
//! nothing about the processes of this one.

use std::{fs, time::Duration};

use crate::Instant;

/// The kernel has chosen it when it started. See proc(5).
const ID: &str = "/proc/sys/kernel/random/boot_id";

/// The id of this run; empty where the kernel does not tell.
pub(crate) fn id() -> String {
    let text = fs::read_to_string(ID).unwrap_or_default();
    text.trim().to_owned()
}

/// Whether the machine was started again since `id` was this one's.
pub(crate) fn is_over(id: &str) -> bool {
    // Of what is not known, nothing is claimed.
    let now = self::id();
    !id.is_empty() && !now.is_empty() && id != now
}

/// When this run has begun: whatever ran in the one before had ended by then.
pub(crate) fn began() -> Instant {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = text.lines().find_map(|it| it.strip_prefix("btime "));
    let seconds = seconds.and_then(|it| it.trim().parse().ok());
    let seconds = seconds.map(Duration::from_secs);
    seconds.map_or_else(Instant::now, Instant::since_1970)
}
