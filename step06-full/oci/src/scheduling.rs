//! `process.scheduler` and `process.ioPriority`: how large the process's share of
//! the processors and of the disks is, beside that of other processes.

use anyhow::{Context, bail, ensure};
use common::sys;

use crate::config::process::{IoPriority, Process, Scheduler};

/// By the names of sched(7), with the numbers of <linux/sched.h>.
const POLICIES: [(&str, u32); 6] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// By the names of the specification, which are those of <linux/sched.h>.
const FLAGS: [(&str, u64); 5] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
];

/// By the names of ioprio_set(2).
const CLASSES: [(&str, i32); 3] = [
    ("IOPRIO_CLASS_RT", 1),
    ("IOPRIO_CLASS_BE", 2),
    ("IOPRIO_CLASS_IDLE", 3),
];

/// Sets both, as far as they are given, for this process. Before its rights are
/// reduced: more than others takes CAP_SYS_NICE.
pub(crate) fn set(process: &Process) -> anyhow::Result<()> {
    if let Some(scheduler) = &process.scheduler {
        sys::sched_setattr(&attributes(scheduler)?)
            .context("setting process.scheduler")?;
    }
    if let Some(priority) = &process.io_priority {
        sys::ioprio_set(number(priority)?)
            .context("setting process.ioPriority")?;
    }
    Ok(())
}

/// Looks at what can be judged outside.
pub(crate) fn check(process: &Process) -> anyhow::Result<()> {
    process.scheduler.as_ref().map(attributes).transpose()?;
    process.io_priority.as_ref().map(number).transpose()?;
    Ok(())
}

fn attributes(scheduler: &Scheduler) -> anyhow::Result<libc::sched_attr> {
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= find(&FLAGS, flag, "process.scheduler.flags")?;
    }
    let policy = &scheduler.policy;
    Ok(libc::sched_attr {
        sched_policy: find(&POLICIES, policy, "process.scheduler.policy")?,
        sched_flags: flags,
        sched_nice: scheduler.nice,
        sched_priority: scheduler.priority.try_into()?,
        sched_runtime: scheduler.runtime,
        sched_deadline: scheduler.deadline,
        sched_period: scheduler.period,
        ..sys::sched_attr()
    })
}

/// The class and the level, as the kernel wants them.
fn number(priority: &IoPriority) -> anyhow::Result<i32> {
    let class = find(&CLASSES, &priority.class, "process.ioPriority.class")?;
    let level = priority.priority;
    ensure!(
        (0..8).contains(&level),
        "process.ioPriority.priority: {level} is not between 0 and 7"
    );
    Ok(class << 13 | level)
}

fn find<N: Copy>(
    table: &[(&str, N)],
    name: &str,
    field: &str,
) -> anyhow::Result<N> {
    match table.iter().find(|(it, _)| *it == name) {
        Some((_, number)) => Ok(*number),
        None => bail!("{field}: there is no {name:?}"),
    }
}
