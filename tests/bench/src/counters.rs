//! What does not drift when the machine does: page faults and instructions.
#![allow(unsafe_code)]

use std::{
    fmt,
    fs::File,
    io::Read,
    os::fd::{FromRawFd, OwnedFd},
};

use anyhow::Context;
use nix::{
    errno::Errno,
    sys::resource::{UsageWho, getrusage},
};

/// Of one run, on average, all of its processes together.
pub(crate) struct Counters {
    page_faults: i64,
    /// `None` where the processor's counters can't be had, as in most virtual
    /// machines.
    instructions: Option<u64>,
}

impl fmt::Display for Counters {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "A run has {} page faults", self.page_faults)?;
        match self.instructions {
            Some(number) => write!(formatter, " and {number} instructions."),
            None => write!(
                formatter,
                ". This machine does not let us count instructions."
            ),
        }
    }
}

/// Counting, from [`start`] on.
pub(crate) struct Counting {
    page_faults: i64,
    instructions: Option<File>,
}

/// Starts to count what the processes do that are forked from now on.
pub(crate) fn start() -> anyhow::Result<Counting> {
    Ok(Counting {
        page_faults: page_faults()?,
        instructions: open_counter(),
    })
}

impl Counting {
    /// The average of `runs`.
    pub(crate) fn stop(self, runs: usize) -> anyhow::Result<Counters> {
        let runs = i64::try_from(runs).context("too many runs")?;
        let instructions = self.instructions.map(|mut file| {
            let mut value = [0; 8];
            file.read_exact(&mut value).context("read(perf event)")?;
            anyhow::Ok(u64::from_ne_bytes(value) / runs.unsigned_abs())
        });
        Ok(Counters {
            page_faults: (page_faults()? - self.page_faults) / runs,
            instructions: instructions.transpose()?,
        })
    }
}

/// Of all children that were waited for, and of theirs. See getrusage(2).
fn page_faults() -> anyhow::Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage()")?;
    Ok(usage.minor_page_faults())
}

/// The beginning of `struct perf_event_attr`, PERF_ATTR_SIZE_VER0 in
/// linux/perf_event.h.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

const PERF_TYPE_HARDWARE: u32 = 0;
const PERF_COUNT_HW_INSTRUCTIONS: u64 = 1;
/// The second bit of the flags: children count as well.
const INHERIT: u64 = 1 << 1;

const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;

/// Counts our own instructions and those of our children. See
/// perf_event_open(2).
fn open_counter() -> Option<File> {
    let attributes = Attributes {
        kind: PERF_TYPE_HARDWARE,
        size: u32::try_from(size_of::<Attributes>()).ok()?,
        config: PERF_COUNT_HW_INSTRUCTIONS,
        flags: INHERIT,
        ..Attributes::default()
    };
    let (this_process, any_processor, no_group) = (0, -1, -1);
    // SAFETY: the kernel reads as many bytes as `size` says, and they are there.
    let number = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            this_process,
            any_processor,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    let number = i32::try_from(Errno::result(number).ok()?).ok()?;
    // SAFETY: the descriptor is new, and nobody else has it.
    Some(File::from(unsafe { OwnedFd::from_raw_fd(number) }))
}
