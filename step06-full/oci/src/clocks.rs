//! `linux.timeOffsets`: the container's clocks go ahead of the machine's, or
//! behind.
//!
//! A time namespace has no time of its own, which is the same for all, but says
//! how much is added to the two clocks that nobody can set: that of the seconds
//! since the boot, and the same without those in which the machine slept. So a
//! container that was moved from another machine finds them as they were. See
//! time_namespaces(7).

use anyhow::{Context, ensure};
use common::{host::files::write_kernel_file, sys};
use nix::{fcntl::OFlag, unistd::geteuid};

use crate::config::Linux;

/// The clocks that have an offset, by the names of the kernel.
const CLOCKS: [&str; 2] = ["monotonic", "boottime"];

/// Looks at what can be judged outside.
pub(crate) fn check(linux: &Linux) -> anyhow::Result<()> {
    let offsets = &linux.time_offsets;
    for (clock, offset) in offsets {
        ensure!(
            CLOCKS.contains(&clock.as_str()),
            "linux.timeOffsets: there is no clock {clock:?} with an offset"
        );
        ensure!(
            offset.nanosecs < 1_000_000_000,
            "linux.timeOffsets.{clock}.nanosecs is more than a second"
        );
    }
    // Those of one that exists are fixed: somebody is in it.
    ensure!(
        offsets.is_empty() || linux.makes_namespace("time"),
        "linux.timeOffsets needs a new namespace time"
    );
    // The files of who has entered one are root's. See proc(5), "dumpable".
    ensure!(
        offsets.is_empty()
            || geteuid().is_root()
            || !linux.has_namespace("user")
            || linux.makes_namespace("user"),
        "linux.timeOffsets: a plain user can't set them in a user namespace \
         that is joined by its path, only in a new one"
    );
    Ok(())
}

/// Moves this process into a new time namespace, if there is to be one, with
/// the offsets of the file.
///
/// To be called while `/proc` is still the host's, in which no image has a say,
/// and before this process changes its user: then its files there are root's.
pub(crate) fn shift(linux: &Linux) -> anyhow::Result<()> {
    if !linux.makes_namespace("time") {
        return Ok(());
    }
    let shift = || {
        // It is made for children. As long as nobody is in it, its offsets can
        // be written; with the first one they are fixed.
        sys::unshare(sys::CLONE_NEWTIME)?;
        let lines = linux.time_offsets.iter().map(|(clock, offset)| {
            format!("{clock} {} {}\n", offset.secs, offset.nanosecs)
        });
        let lines: String = lines.collect();
        if !lines.is_empty() {
            write_kernel_file("/proc/self/timens_offsets", &lines)?;
        }
        // That first one are we.
        let path = "/proc/self/ns/time_for_children";
        let namespace = sys::open(path, OFlag::O_RDONLY, 0)?;
        sys::setns(namespace, sys::CLONE_NEWTIME)
    };
    shift().context("making the time namespace (linux.timeOffsets)")
}
