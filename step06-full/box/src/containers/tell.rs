//! What can be done with a container that is there.

use std::{
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use nix::{libc::c_int, sys::signal::Signal};
use step06_life::Container;

use super::{Names, start::start_one};

/// How often it is looked whether a container has ended.
const INTERVAL: Duration = Duration::from_millis(5);

/// How long a container may take to begin, or a monitor to see the end.
const A_MOMENT: Duration = Duration::from_secs(5);

/// Stop containers: by SIGTERM, and if that is not enough by SIGKILL
#[derive(clap::Args)]
pub(crate) struct Stop {
    /// How long to wait for the end, before it is forced
    #[arg(
        short = 't',
        long = "time",
        visible_alias = "timeout",
        value_name = "SECONDS",
        default_value = "10",
        allow_negative_numbers = true
    )]
    seconds: i64,
    /// Signal that asks for the end: a name or a number
    #[arg(short, long, default_value = "TERM", value_parser = signal)]
    signal: c_int,
    #[command(flatten)]
    names: Names,
}

pub(crate) fn stop(args: &Stop) -> anyhow::Result<ExitCode> {
    args.names.each_by_name(|it| stop_one(&it, args))
}

impl Stop {
    /// As with Docker, less than none is for ever.
    fn limit(&self) -> Duration {
        let seconds = self.seconds.try_into();
        seconds.map_or(Duration::MAX, Duration::from_secs)
    }
}

fn stop_one(container: &Container, args: &Stop) -> anyhow::Result<()> {
    let start = Instant::now();
    // A process that gets no time can't obey.
    let is_asked = unless_ended(container, || container.kill(args.signal))?
        && unless_ended(container, || container.unpause())?;
    if !is_asked {
        return Ok(());
    }
    while start.elapsed() < args.limit() {
        if !container.is_alive()? {
            return Ok(());
        }
        sleep(INTERVAL);
    }
    kill_one(container)
}

/// Does something to a container that may be about to start, or to end: what
/// fails then is tried again. Returns `false` if it has ended.
fn unless_ended(
    container: &Container,
    act: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let start = Instant::now();
    while let Err(error) = act() {
        if !container.is_alive()? {
            return Ok(false);
        }
        ensure!(start.elapsed() < A_MOMENT, error);
        sleep(INTERVAL);
    }
    Ok(true)
}

fn kill_one(container: &Container) -> anyhow::Result<()> {
    let start = Instant::now();
    while container.is_alive()? {
        match container.kill(Signal::SIGKILL as c_int) {
            Ok(()) => return container.wait().map(drop),
            Err(error) => ensure!(start.elapsed() < A_MOMENT, error),
        }
        sleep(INTERVAL);
    }
    Ok(())
}

/// Send a signal to containers
#[derive(clap::Args)]
pub(crate) struct Kill {
    /// Signal: a name or a number
    #[arg(short, long, default_value = "KILL", value_parser = signal)]
    signal: c_int,
    #[command(flatten)]
    names: Names,
}

pub(crate) fn kill(args: &Kill) -> anyhow::Result<ExitCode> {
    args.names.each_by_name(|it| it.kill(args.signal))
}

fn signal(text: &str) -> anyhow::Result<c_int> {
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = match name.parse() {
        Ok(number) => number,
        Err(_) => match format!("SIG{name}").parse::<Signal>() {
            Ok(signal) => signal as c_int,
            Err(_) => bail!("there is no such signal"),
        },
    };
    ensure!((1..=64).contains(&number), "there is no such signal");
    Ok(number)
}

/// Wait until containers have ended, and print their exit codes
#[derive(clap::Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    names: Names,
}

pub(crate) fn wait(args: &Wait) -> anyhow::Result<ExitCode> {
    args.names.each(|container| {
        let code = container.wait()?;
        let code = code.with_context(|| {
            format!("nobody has seen the end of {}", container.config.name)
        })?;
        Ok(code.to_string())
    })
}

/// Stop containers, and start them again
#[derive(clap::Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    stop: Stop,
}

pub(crate) fn restart(args: &Restart) -> anyhow::Result<ExitCode> {
    args.stop.names.each_by_name(|it| {
        it.keep_for_restart()?;
        stop_one(&it, &args.stop)?;
        start_one(&it)
    })
}

/// Give containers no time, until box unpause
#[derive(clap::Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    names: Names,
}

pub(crate) fn pause(args: &Pause) -> anyhow::Result<ExitCode> {
    args.names.each_by_name(|it| it.pause())
}

/// Let containers go on
#[derive(clap::Args)]
pub(crate) struct Unpause {
    #[command(flatten)]
    names: Names,
}

pub(crate) fn unpause(args: &Unpause) -> anyhow::Result<ExitCode> {
    args.names.each_by_name(|it| it.unpause())
}

/// Remove containers that have ended
#[derive(clap::Args)]
pub(crate) struct Remove {
    /// Kill those that have not
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    names: Names,
}

pub(crate) fn remove(args: &Remove) -> anyhow::Result<ExitCode> {
    args.names.each_by_name(|container| {
        if args.force {
            kill_one(&container)?;
            // With --rm its own monitor has done it.
            if container.config.remove && container.is_gone() {
                return Ok(());
            }
        }
        container.remove()
    })
}
