//! How many containers a second, when several are started at a time.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, alarm},
};

use crate::{
    measure::{
        self, TIMEOUT, check_interrupted, command, kill_group, timed_out,
    },
    report::Throughput,
    subjects::Subject,
};

/// How many containers there are at a time.
pub(crate) const AT_A_TIME: [usize; 3] = [1, 2, 8];

/// The containers of one subject are started in so many parts, by turns with
/// those of the others.
const PARTS: usize = 4;

/// A part ends after this time, for tools that are slow.
const LONGEST: Duration = Duration::from_secs(2);

/// Starts `containers` of each subject, with 1, 2 and 8 of them at a time.
pub(crate) fn measure(
    subjects: &[Subject],
    containers: usize,
) -> anyhow::Result<Vec<Throughput>> {
    let mut results = Vec::new();
    for subject in subjects {
        results.push(Throughput {
            name: subject.name.clone(),
            per_second: Vec::new(),
            failure: None,
        });
    }
    for at_a_time in AT_A_TIME {
        let mut totals = vec![(0, Duration::ZERO); subjects.len()];
        for _ in 0..PARTS {
            for (index, subject) in subjects.iter().enumerate() {
                if results[index].failure.is_some() {
                    continue;
                }
                let count = containers.div_ceil(PARTS);
                match part(subject, count, at_a_time) {
                    Ok((count, time)) => {
                        totals[index].0 += count;
                        totals[index].1 += time;
                    }
                    Err(error) => {
                        check_interrupted()?;
                        let text = format!("{at_a_time} at a time: {error:#}");
                        results[index].failure = Some(text);
                    }
                }
            }
        }
        for (result, (count, time)) in results.iter_mut().zip(totals) {
            if result.failure.is_none() {
                let rate = count as f64 / time.as_secs_f64();
                result.per_second.push(rate);
            }
        }
    }
    Ok(results)
}

/// Starts `count` containers, or as many as there is time for, and waits for
/// the last one. Returns how many there were, and the time.
fn part(
    subject: &Subject,
    count: usize,
    at_a_time: usize,
) -> anyhow::Result<(usize, Duration)> {
    let start = Instant::now();
    alarm::set(TIMEOUT);
    let mut running = HashSet::new();
    let mut started = 0;
    let mut failure = None;
    loop {
        let more = started < count
            && start.elapsed() < LONGEST
            && failure.is_none()
            && check_interrupted().is_ok();
        if more && running.len() < at_a_time {
            let run = measure::start(&mut command(&subject.command)?)?;
            running.insert(run.pid);
            started += 1;
        } else if running.is_empty() {
            break;
        } else {
            match wait_for_any(&mut running)? {
                Some(WaitStatus::Exited(_, 0)) => {}
                Some(status) => failure = Some(status),
                None if timed_out(start) => {
                    running.iter().copied().for_each(kill_group);
                }
                None => {}
            }
        }
    }
    alarm::cancel();
    check_interrupted()?;
    if let Some(status) = failure {
        match status {
            WaitStatus::Exited(_, code) => bail!("exit code {code}"),
            WaitStatus::Signaled(_, Signal::SIGKILL, _) if timed_out(start) => {
                bail!("hung for {TIMEOUT} s")
            }
            status => bail!("{status:?}"),
        }
    }
    Ok((started, start.elapsed()))
}

/// Waits until one of them has ended. `None` means that a signal came.
fn wait_for_any(
    running: &mut HashSet<Pid>,
) -> anyhow::Result<Option<WaitStatus>> {
    match waitpid(None, None) {
        Err(Errno::EINTR) => Ok(None),
        status => {
            let status = status.context("wait4(-1)")?;
            if let Some(pid) = status.pid() {
                running.remove(&pid);
            }
            Ok(Some(status))
        }
    }
}
