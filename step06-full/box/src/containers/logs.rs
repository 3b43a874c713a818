//! `logs`.

use std::{
    collections::VecDeque,
    io::{Write, stderr, stdout},
    process::ExitCode,
    thread::sleep,
    time::Duration,
};

use anyhow::Context;
use step06_life::{Container, Instant, Line, Log, Stream};

use super::or_one;
use crate::store;

/// How often somebody who follows a log looks for more.
const INTERVAL: Duration = Duration::from_millis(50);

/// Show what a container has printed
#[derive(clap::Args)]
pub(crate) struct Logs {
    /// Container: a name, or the beginning of an id
    #[arg(value_name = "CONTAINER")]
    name: String,
    /// Go on until the container has ended
    #[arg(short, long)]
    follow: bool,
    /// Show when each line was printed
    #[arg(short, long)]
    timestamps: bool,
    /// Begin with the last N lines
    #[arg(short = 'n', long, value_name = "N", value_parser = number)]
    #[arg(default_value = "all", hide_default_value = true)]
    tail: usize,
    /// Leave out what is older: how long ago, as 10m, or a date and a time
    #[arg(long, value_name = "MOMENT")]
    since: Option<Instant>,
    /// Leave out what is newer
    #[arg(long, value_name = "MOMENT")]
    until: Option<Instant>,
}

/// Of lines; as with Docker, what is below none is all of them.
fn number(text: &str) -> anyhow::Result<usize> {
    match text {
        "all" => Ok(usize::MAX),
        _ => Ok(usize::try_from(text.parse::<i64>()?).unwrap_or(usize::MAX)),
    }
}

pub(crate) fn logs(args: &Logs) -> anyhow::Result<ExitCode> {
    or_one(|| show(args))
}

fn show(args: &Logs) -> anyhow::Result<ExitCode> {
    let container = Container::find(&store::place()?, &args.name)?;
    let log = container.log()?;
    let mut log = log.with_context(|| {
        let name = &container.config.name;
        format!("{name} was not in the background: its output went elsewhere")
    })?;
    let mut out = Out {
        timestamps: args.timestamps,
        is_inside: false,
        // The log has them in this form, in which the older is the smaller.
        since: args.since.map(|it| it.to_string()),
        until: args.until.map(|it| it.to_string()),
    };
    for line in last(&mut log, args.tail, &out)? {
        out.write(&line)?;
    }
    if args.follow {
        follow(&container, &mut log, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Its log, behind all that is in there. Not by the moment: somebody may set the
/// clock.
pub(crate) fn end_of_log(container: &Container) -> anyhow::Result<Log> {
    let log = container.log()?;
    let mut log = log.with_context(|| {
        let name = &container.config.name;
        format!("{name} was not in the background: its output goes elsewhere")
    })?;
    log.skip()?;
    Ok(log)
}

/// Shows what a container that runs prints from here on, until it ends. Returns
/// its exit code. Who stops looking lets it go on.
pub(crate) fn look_at(
    container: &Container,
    log: &mut Log,
) -> anyhow::Result<ExitCode> {
    // It may be removed at its end.
    let ending = container.ending()?;
    let mut out = Out {
        timestamps: false,
        is_inside: false,
        since: None,
        until: None,
    };
    follow(container, log, &mut out)?;
    Ok(container.end_code(ending)?.into())
}

/// Until the container has ended, and all of it is read.
fn follow(
    container: &Container,
    log: &mut Log,
    out: &mut Out,
) -> anyhow::Result<()> {
    loop {
        // Asked first: what it has printed until its end is then in the log.
        let is_alive = container.is_alive()?;
        while let Some(line) = log.next_line()? {
            if out.wants(&line) {
                out.write(&line)?;
            }
        }
        if !is_alive || out.is_over() {
            return Ok(());
        }
        sleep(INTERVAL);
    }
}

/// All lines, or the last of them. A line may be in several parts.
fn last(
    log: &mut Log,
    number: usize,
    out: &Out,
) -> anyhow::Result<VecDeque<Line>> {
    let mut lines = VecDeque::new();
    while let Some(line) = log.next_line()? {
        if out.wants(&line) {
            lines.push_back(line);
        }
        if lines.len() > number {
            lines.pop_front();
        }
    }
    Ok(lines)
}

struct Out {
    timestamps: bool,
    /// The last part was none with a line's end.
    is_inside: bool,
    since: Option<String>,
    until: Option<String>,
}

impl Out {
    fn wants(&self, line: &Line) -> bool {
        self.since.as_ref().is_none_or(|it| line.moment >= *it)
            && self.until.as_ref().is_none_or(|it| line.moment <= *it)
    }

    /// Nothing more can come that is wanted.
    fn is_over(&self) -> bool {
        let now = Instant::now().to_string();
        self.until.as_ref().is_some_and(|it| now > *it)
    }

    fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut text = Vec::new();
        if self.timestamps && !self.is_inside {
            text.extend(line.moment.as_bytes());
            text.push(b' ');
        }
        text.extend(&line.text);
        self.is_inside = line.text.last() != Some(&b'\n');
        match line.stream {
            Stream::Stdout => stdout().write_all(&text).and_then(|()| {
                // Who follows it wants to see the beginning of a line, too.
                stdout().flush()
            }),
            Stream::Stderr => stderr().write_all(&text),
        }
        .context("write(1)")
    }
}
