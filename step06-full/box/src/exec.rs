//! Another command in a container that runs, and its terminal.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, ensure};
use common::{ImageSays, Workload};
use step06_life::{Container, DetachKeys, record::Config};

use crate::{
    containers::{end_of_log, look_at, or_one},
    store,
};

/// Run another command in a container that runs
#[derive(clap::Args)]
pub(crate) struct Exec {
    /// In the background, and say nothing of it
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,
    /// Give it the standard input, which otherwise is empty
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal of its own
    #[arg(short, long)]
    tty: bool,
    /// Run as this user of the container, a name or a number
    #[arg(short, long, value_name = "NAME[:GROUP]")]
    user: Option<String>,
    /// Working directory of the command
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Set an environment variable; KEY alone for the caller's (repeatable)
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<OsString>,
    /// Set those that a file has, one a line (repeatable)
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Container
    #[arg(value_name = "NAME")]
    name: String,
    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,
}

/// The exit code is that of the command; 1 if there is nowhere to run it, as
/// with Docker.
pub(crate) fn exec(args: &Exec) -> anyhow::Result<ExitCode> {
    or_one(|| {
        let container = Container::find(&store::place()?, &args.name)?;
        let workload = args.workload(&container.config)?;
        container.exec(&step06_life::Exec {
            workload,
            detached: args.detach,
            terminal: args.tty,
            interactive: args.interactive,
        })
    })
}

impl Exec {
    /// The command, with what those in this container have, and what was asked
    /// for here, which counts more.
    fn workload(&self, config: &Config) -> anyhow::Result<Workload> {
        let mut settings = Vec::new();
        for file in &self.env_file {
            settings.extend(read(file)?);
        }
        for text in &self.env {
            settings.extend(setting(text)?);
        }
        let text = |it: &String| OsString::from(it);
        let theirs = config.environment.iter();
        let workload =
            Workload::new(self.command.clone(), settings, self.workdir.clone());
        let workload = workload.in_image(ImageSays {
            environment: theirs.map(|(a, b)| (text(a), text(b))).collect(),
            workdir: config.workdir.clone(),
            ..ImageSays::default()
        })?;
        let user = self.user.clone().or_else(|| config.user.clone());
        let workload = workload.as_user(user);
        Ok(workload.with_fresh_environment(&config.hostname))
    }
}

/// Look at a container, and type if it has a terminal
#[derive(clap::Args)]
pub(crate) struct Attach {
    /// Keys that let go of it [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Only look
    #[arg(long)]
    no_stdin: bool,
    /// Container
    #[arg(value_name = "NAME")]
    name: String,
}

pub(crate) fn attach(args: &Attach) -> anyhow::Result<ExitCode> {
    or_one(|| {
        let container = Container::find(&store::place()?, &args.name)?;
        if !container.config.tty {
            // It has nothing to read from, and prints into its log.
            container.check_is_going()?;
            let mut log = end_of_log(&container)?;
            return look_at(&container, &mut log);
        }
        let keys = args.detach_keys.clone().unwrap_or_default();
        container.attach(!args.no_stdin, &keys)
    })
}

/// Settings, one a line, as Docker reads them: lines with `#` are comments, and
/// nothing is unquoted.
fn read(path: &PathBuf) -> anyhow::Result<Vec<(OsString, OsString)>> {
    let text = fs::read(path).with_context(|| format!("reading {path:?}"))?;
    let mut settings = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_start();
        if !line.is_empty() && !line.starts_with(b"#") {
            let line = OsStr::from_bytes(line);
            let setting =
                setting(line).with_context(|| format!("in {path:?}"))?;
            settings.extend(setting);
        }
    }
    Ok(settings)
}

/// `KEY=VALUE`, or the caller's own value of `KEY`, if there is one.
fn setting(text: &OsStr) -> anyhow::Result<Option<(OsString, OsString)>> {
    let bytes = text.as_bytes();
    let (key, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let own = |bytes: &[u8]| OsString::from_vec(bytes.to_owned());
    ensure!(!key.is_empty(), "{text:?} is not KEY=VALUE");
    let value = value
        .map(own)
        .or_else(|| env::var_os(OsStr::from_bytes(key)));
    Ok(value.map(|value| (own(key), value)))
}
