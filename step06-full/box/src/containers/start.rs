//! `start`.

use std::{
    io::stderr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail, ensure};
use step06_life::{AGAIN, Container, DetachKeys};

use super::{Names, logs, or_one};
use crate::store;

/// Start containers that have ended once more
#[derive(clap::Args)]
pub(crate) struct Start {
    /// Show what it prints, and end with its exit code; who stops looking lets
    /// it go on
    #[arg(short, long)]
    attach: bool,
    /// With -a, if it has a terminal: what is typed here is for it
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    names: Names,
}

pub(crate) fn start(args: &Start) -> anyhow::Result<ExitCode> {
    if !args.attach && !args.interactive {
        return args.names.each_by_name(|it| start_one(&it));
    }
    or_one(|| {
        let [name] = &args.names.names[..] else {
            bail!("you cannot start and attach multiple containers at once");
        };
        let container = Container::find(&store::place()?, name)?;
        if container.config.tty {
            start_one(&container)?;
            return container.attach(args.interactive, &DetachKeys::default());
        }
        let mut log = logs::end_of_log(&container)?;
        start_one(&container)?;
        logs::look_at(&container, &mut log)
    })
}

/// By the command line that it was made by: it says all that it needs.
pub(super) fn start_one(container: &Container) -> anyhow::Result<()> {
    let config = &container.config;
    if container.is_alive()? {
        return Ok(());
    }
    let mut program = Command::new("/proc/self/exe");
    let mut arguments = config.arguments.iter();
    program.arg0(arguments.next().context("there is no command line")?);
    program.args(arguments);
    // Relative paths begin there.
    let directory = Path::new(&config.directory);
    let status = directory.metadata();
    status.with_context(|| format!("it was made in {directory:?}"))?;
    program.current_dir(directory).env(AGAIN, &config.name);
    program.stdin(Stdio::null()).stdout(Stdio::null());
    program.stderr(stderr());
    let ended = program.status().context("execve(\"/proc/self/exe\")")?;
    ensure!(ended.success(), "{} was not started", config.name);
    Ok(())
}
