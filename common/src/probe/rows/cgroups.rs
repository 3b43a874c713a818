//! What step 4 isolates: each limit is tried by going past it. The container
//! has 64 MiB, half a CPU and 64 processes when nothing else is said.

use std::time::{Duration, Instant};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        signal::{Signal, kill},
        time::TimeVal,
        wait::waitpid,
    },
    unistd::Pid,
};

use super::{Attempt, Row, if_it_worked, in_a_child};
use crate::process;

/// More than 64 MiB.
const BYTES: usize = 80 << 20;

/// More than 64.
const PROCESSES: usize = 80;

/// Several of the kernel's periods of 100 ms.
const BURN_TIME: Duration = Duration::from_millis(400);

/// What half a CPU gives in that time at most, with what was left of the period
/// before; rounded up.
const HALF: Duration = Duration::from_millis(280);

/// The kernel lets a process that has used up its half of a period wait for the
/// rest of it. On a busy machine one waits for others, but not as long.
const THROTTLED: Duration = Duration::from_millis(35);

/// And not in each of the periods: one of the four may be cut short.
const TIMES_THROTTLED: usize = 3;

/// Nor for as long: so many looks in a row have to show the same.
const LOOKS_THROTTLED: usize = 3;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "memory",
        control: |_| hog().map_err(|_| "there is too little memory".into()),
        attempt: Attempt::Here(|_| hog().map(|()| String::new())),
        reached: if_it_worked,
    },
    Row {
        name: "cpu",
        control: |_| burn().map_err(|_| "the CPU is too busy to tell".into()),
        attempt: Attempt::Here(|_| burn().map(|()| String::new())),
        reached: if_it_worked,
    },
    Row {
        name: "processes",
        control: |_| fork_many().map_err(|_| "you can't start more".into()),
        attempt: Attempt::Here(|_| fork_many().map(|()| String::new())),
        reached: if_it_worked,
    },
];

/// Fills memory; past the limit the kernel kills the process that does it.
fn hog() -> Result<(), String> {
    in_a_child(|| {
        // Not zeros, for which the kernel would have no memory to find.
        let hoard = vec![0xff_u8; BYTES];
        std::hint::black_box(&hoard);
        Ok(())
    })
}

/// Computes without end; past the limit the kernel lets it wait.
fn burn() -> Result<(), String> {
    let (mut used, mut throttled) = (Duration::ZERO, 0);
    // A busy machine can hold us up as well: then it takes more than one look.
    for _ in 0..25 {
        let (begin, before) = (Instant::now(), cpu_time());
        let (mut last, mut times) = (begin, 0);
        while last < begin + BURN_TIME {
            let now = Instant::now();
            times += usize::from(now - last > THROTTLED);
            last = now;
        }
        used = cpu_time().saturating_sub(before);
        if used > HALF {
            return Ok(());
        }
        let regularly = times >= TIMES_THROTTLED && used > BURN_TIME / 3;
        throttled = if regularly { throttled + 1 } else { 0 };
        if throttled == LOOKS_THROTTLED {
            break;
        }
    }
    Err(format!("{used:?} of {BURN_TIME:?}"))
}

fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    let duration = |time: TimeVal| {
        Duration::from_micros(time.tv_sec() as u64 * 1_000_000)
            + Duration::from_micros(time.tv_usec() as u64)
    };
    duration(usage.user_time()) + duration(usage.system_time())
}

/// Starts processes that wait; past the limit fork(2) is refused.
fn fork_many() -> Result<(), String> {
    let mut children: Vec<Pid> = Vec::new();
    let mut result = Ok(());
    for _ in 0..PROCESSES {
        match process::fork(|| {
            loop {
                nix::unistd::pause();
            }
        }) {
            Ok(child) => children.push(child),
            Err(error) => {
                result = Err(format!("{error:#}"));
                break;
            }
        }
    }
    for child in children {
        // They are ours and not yet waited for, so both succeed.
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, None);
    }
    result
}
