//! The command line that all steps have in common.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command,
    builder::{OsStringValueParser, TypedValueParser},
    error::{Error, ErrorKind},
    value_parser,
};

use crate::{Workload, doctor, probe, process, program_name, report, signals};

/// What a step does with its options and a workload: the whole container, from
/// the parent's view.
type Run<A> = fn(&A, &Workload) -> anyhow::Result<ExitCode>;

/// A step's program. Its `run` starts a container, its `probe` tells what is
/// isolated in it, its `doctor` what will run on this machine.
pub struct Program<A> {
    run: Run<A>,
    commands: Vec<(Command, Action)>,
}

/// A subcommand that a step adds.
type Action = Box<dyn Fn(&ArgMatches) -> anyhow::Result<ExitCode>>;

impl<A: Args> Program<A> {
    /// A program that runs its containers by `run`. `A` are the step's options.
    pub fn new(run: Run<A>) -> Program<A> {
        Program {
            run,
            commands: Vec::new(),
        }
    }

    /// Adds a subcommand.
    #[must_use]
    pub fn subcommand<D: Args + 'static>(
        mut self,
        name: &'static str,
        action: fn(&D) -> anyhow::Result<ExitCode>,
    ) -> Program<A> {
        let command = D::augment_args(Command::new(name));
        let action: Action =
            Box::new(move |matches| action(&D::from_arg_matches(matches)?));
        self.commands.push((command, action));
        self
    }

    /// The program's `main`: parses the command line and does what it says.
    ///
    /// An error is printed and gives exit code 125, or 126 or 127 if the
    /// command could not be run.
    pub fn main(self) -> ExitCode {
        if let Some(row) = probe::row_to_try() {
            return row;
        }
        let outcome = signals::restore_defaults().and_then(|()| {
            let matches = self.command_line().try_get_matches()?;
            self.act(&matches)
        });
        match outcome {
            Ok(code) => process::end_as_the_command(code),
            Err(error) => match error.downcast::<Error>() {
                Ok(usage) => explain(&usage),
                Err(error) => report::failure(&error).into(),
            },
        }
    }

    fn act(&self, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
        match matches.subcommand() {
            Some(("run", matches)) => {
                let options = A::from_arg_matches(matches)?;
                (self.run)(&options, &workload(matches))
            }
            Some(("probe", matches)) => {
                let options = A::from_arg_matches(&self.no_options()?)?;
                let run = |workload: &Workload| (self.run)(&options, workload);
                probe::main(run, matches.get_flag("json"))
            }
            Some(("doctor", matches)) => doctor::main(matches.get_flag("json")),
            Some((name, matches)) => {
                let mut commands = self.commands.iter();
                let found = commands.find(|(it, _)| it.get_name() == name);
                let (_, action) = found.expect("clap knows only our commands");
                action(matches)
            }
            None => unreachable!("clap requires a subcommand"),
        }
    }

    fn command_line(&self) -> Command {
        Command::new(program_name())
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_subcommand(true)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(self.run_command())
            .subcommand(
                Command::new("probe")
                    .about(
                        "Tries from inside a container what reaches the host, \
                         and shows what is isolated",
                    )
                    .arg(json()),
            )
            .subcommand(
                Command::new("doctor")
                    .about(
                        "Tries what the steps need, and shows which of them \
                         run here and what to change for the others",
                    )
                    .arg(json()),
            )
            .subcommands(self.commands.iter().map(|(command, _)| command))
    }

    fn run_command(&self) -> Command {
        A::augment_args(Command::new("run"))
            .arg(
                Arg::new("env")
                    .long("env")
                    .value_name("KEY=VALUE")
                    .action(ArgAction::Append)
                    .value_parser(OsStringValueParser::new().try_map(setting))
                    .help("Set an environment variable (repeatable)"),
            )
            .arg(
                Arg::new("workdir")
                    .long("workdir")
                    .value_name("DIR")
                    .value_parser(value_parser!(PathBuf))
                    .help("Working directory of the command"),
            )
            .arg(
                Arg::new("command")
                    .value_name("COMMAND")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .value_parser(value_parser!(OsString))
                    .help("The command and its arguments [default: sh]"),
            )
    }

    /// What clap makes of `run` without any options: the defaults.
    fn no_options(&self) -> Result<ArgMatches, Error> {
        self.run_command().try_get_matches_from(["run"])
    }
}

fn json() -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print JSON instead of a table")
}

fn workload(matches: &ArgMatches) -> Workload {
    let mut command: Vec<OsString> = many(matches, "command");
    let mut environment = Vec::new();
    if command.is_empty() {
        command.push("sh".into());
        // The prompt of a shell should say where one is.
        environment.push(("PS1".into(), "$(hostname)# ".into()));
    }
    environment.extend(many(matches, "env"));
    let workdir = matches.get_one::<PathBuf>("workdir").cloned();
    Workload::new(command, environment, workdir)
}

fn many<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    id: &str,
) -> Vec<T> {
    matches.get_many(id).unwrap_or_default().cloned().collect()
}

/// Splits `KEY=VALUE`, which need not be UTF-8.
fn setting(text: OsString) -> Result<(OsString, OsString), &'static str> {
    let bytes = text.into_vec();
    match bytes.iter().position(|byte| *byte == b'=') {
        None | Some(0) => Err("this is not KEY=VALUE"),
        Some(at) => Ok((
            OsStr::from_bytes(&bytes[..at]).to_owned(),
            OsStr::from_bytes(&bytes[at + 1..]).to_owned(),
        )),
    }
}

/// Prints help, or what is wrong with the command line, in one line. Not to
/// have run anything is a failure of the tool: 125, where clap says 2.
fn explain(usage: &Error) -> ExitCode {
    use ErrorKind::*;
    let text = usage.render().to_string();
    let help = DisplayHelpOnMissingArgumentOrSubcommand;
    match usage.kind() {
        DisplayHelp | DisplayVersion => match usage.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let error = anyhow::Error::from(error).context("write(1)");
                report::failure(&error).into()
            }
        },
        kind if kind == help => {
            let _ = usage.print();
            report::FAILED.into()
        }
        _ => {
            // The first paragraph, which ends in front of the usage.
            let text = text.split("\n\n").next().unwrap_or_default();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let line = lines.join(" ");
            let line = line.strip_prefix("error: ").unwrap_or(&line);
            let usage =
                anyhow::Error::msg(line.to_owned()).context(report::Hint {
                    advice: "see --help".into(),
                    page: None,
                });
            report::failure(&usage).into()
        }
    }
}
