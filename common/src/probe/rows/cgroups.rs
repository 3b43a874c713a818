//! What step 4 isolates: each limit is tried by going past it. The container
//! has 64 MiB, half a CPU and 64 processes when nothing else is said.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use nix::{time::ClockId, unistd::Pid};

use super::{Attempt, Row, if_it_worked, in_a_child, refused, success_of};
use crate::{process, sys};

/// More than 64 MiB.
const BYTES: usize = 80 << 20;

/// More than 64.
const PROCESSES: usize = 80;

/// Enough to have the CPUs to themselves on a busy machine.
const BURNERS: u32 = 8;

/// What the burners compute together.
const WORK: Duration = Duration::from_millis(600);

/// They have this long. Half a CPU, 50 ms in each of the kernel's periods of
/// 100 ms, takes at least 1.1 seconds.
const DEADLINE: Duration = Duration::from_millis(900);

/// Nobody computes that long between two looks at the clock: it is time that a
/// virtual machine stood still, and for which its kernel charges who was
/// running.
const STANDSTILL: Duration = Duration::from_millis(20);

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

/// Gets work done in time; past the limit the kernel lets it wait. A busy
/// machine can be as slow as half a CPU, but hardly three times in a row.
fn burn() -> Result<(), String> {
    burn_together()
        .or_else(|_| burn_together())
        .or_else(|_| burn_together())
}

fn burn_together() -> Result<(), String> {
    let deadline = Instant::now() + DEADLINE;
    let burners: Vec<_> = (0..BURNERS)
        .map(|_| process::fork(|| burner(deadline)))
        .collect();
    // All are waited for, also behind one that was too slow.
    let mut result = Ok(());
    for burner in burners {
        let in_time = burner.map_err(refused).and_then(success_of);
        result = result.and(in_time);
    }
    result
}

/// Computes its part of the work.
fn burner(deadline: Instant) -> anyhow::Result<Infallible> {
    // Or the scheduler gives all of them no more than one other session gets.
    // See sched(7), "The autogroup feature".
    sys::setsid()?;
    let (mut done, mut last) = (Duration::ZERO, cpu_time()?);
    while done < WORK / BURNERS {
        if Instant::now() > deadline {
            process::exit(1);
        }
        let now = cpu_time()?;
        let used = now - last;
        if used < STANDSTILL {
            done += used;
        }
        last = now;
    }
    process::exit(0)
}

fn cpu_time() -> anyhow::Result<Duration> {
    Ok(sys::clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
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
        process::end(child);
    }
    result
}
