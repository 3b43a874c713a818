//! One start as a time line: which process makes which call, and when.
//!
//! The kernel notes down each system call at its two ends, and when a process is
//! forked, executes a file, or exits. The times are those of one run, the
//! fastest of several, so that what happens side by side stands side by side.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context, bail};

use crate::{
    counters::{self, Counters},
    measure::{self, Outcome},
    statistics::Summary,
    subjects::Subject,
    table::{Format, Table},
};

mod record;
mod tracefs;

use record::{Call, Start};
use tracefs::Tracefs;

/// A call that takes so long, in microseconds, gets a line of its own.
const LONG: f64 = 15.0;

/// Runs `subject` so often, and draws the fastest run.
pub(crate) fn of(
    subject: &Subject,
    runs: usize,
    format: Format,
) -> anyhow::Result<String> {
    let (untraced, counters) = without_tracing(subject, runs)?;
    let start = fastest(subject, runs)?;
    let mut text = format!(
        "{}: the fastest of {runs} runs, {:.0} µs from execve to its end; the \
         tracing is in it,\nand the median without is {:.0} µs",
        subject.name,
        start.length(),
        untraced.median,
    );
    let _ = writeln!(text, ". {counters}");
    processes(&start).write(&mut text, format);
    lines(&start).write(&mut text, format);
    Ok(text)
}

fn without_tracing(
    subject: &Subject,
    runs: usize,
) -> anyhow::Result<(Summary, Counters)> {
    let mut durations = Vec::new();
    let counting = counters::start()?;
    for _ in 0..runs {
        durations.push(run(subject)?);
    }
    let counters = counting.stop(runs)?;
    let summary = Summary::of(&durations).context("no runs")?;
    Ok((summary, counters))
}

fn run(subject: &Subject) -> anyhow::Result<Duration> {
    measure::check_interrupted()?;
    match measure::run(&mut measure::command(&subject.command)?)? {
        Outcome::Done(duration) => Ok(duration),
        Outcome::Failed(reason) => bail!("{}: {reason}", subject.name),
    }
}

fn fastest(subject: &Subject, runs: usize) -> anyhow::Result<Start> {
    let program = subject.command.first().context("no program")?;
    let trace = Tracefs::open()?;
    let mut fastest: Option<Start> = None;
    for _ in 0..runs {
        let text = trace.during(|| run(subject).map(drop))?;
        let Some(start) = Start::parse(&text, Path::new(program)) else {
            continue;
        };
        if fastest
            .as_ref()
            .is_none_or(|it| start.length() < it.length())
        {
            fastest = Some(start);
        }
    }
    fastest.context("the kernel's record has no complete run")
}

/// What each process took in all.
fn processes(start: &Start) -> Table {
    let mut table = Table::new(
        "The processes: µs from the start of the first",
        ["", "from", "to", "calls", "in the kernel", "elsewhere"],
    );
    for (number, process) in start.processes.iter().enumerate() {
        let inside: f64 = process.calls.iter().map(Call::length).sum();
        table.rows.push(vec![
            format!("{} ({})", role(number), process.name),
            format!("{:.0}", process.from),
            format!("{:.0}", process.to),
            process.calls.len().to_string(),
            format!("{inside:.0}"),
            format!("{:.0}", process.to - process.from - inside),
        ]);
    }
    table
}

/// What the process with this `number` is for, if it is a step's.
fn role(number: usize) -> String {
    let role = ["parent", "child", "command"].get(number);
    role.map_or_else(|| (number + 1).to_string(), ToString::to_string)
}

/// The calls of all processes in the order of time, the short ones that follow
/// each other in one line.
fn lines(start: &Start) -> Table {
    let mut table = Table::new(
        "The time line, in µs; a line of its own for each call of more than 15",
        ["from", "to", "in µs", "who", "what"],
    );
    let mut lines: Vec<(f64, f64, usize, String)> = Vec::new();
    for (number, process) in start.processes.iter().enumerate() {
        let is_long = |call: &Call| call.length() >= LONG;
        for group in process.calls.chunk_by(|a, b| !is_long(a) && !is_long(b)) {
            let (Some(first), Some(last)) = (group.first(), group.last())
            else {
                continue;
            };
            lines.push((first.from, last.to, number, in_words(group)));
        }
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (from, to, number, what) in lines {
        table.rows.push(vec![
            format!("{from:.0}"),
            format!("{to:.0}"),
            format!("{:.0}", to - from),
            role(number),
            what,
        ]);
    }
    table
}

/// `mount 3, openat 2`: what is most often first.
fn in_words(calls: &[Call]) -> String {
    if let [call] = calls {
        return call.name.clone();
    }
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for call in calls {
        match counts.iter_mut().find(|(name, _)| *name == call.name) {
            Some((_, count)) => *count += 1,
            None => counts.push((&call.name, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest = counts.split_off(counts.len().min(4));
    let mut words: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !rest.is_empty() {
        let count: usize = rest.iter().map(|(_, count)| count).sum();
        words.push(format!("others {count}"));
    }
    words.join(", ")
}
