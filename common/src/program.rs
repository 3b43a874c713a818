//! What a `main.rs` calls: the command line that all steps have in common.
//!
//! What the commands do is elsewhere: the step's own `run`, and the scoreboard.

use std::{
    ffi::{OsStr, OsString},
    mem::ManuallyDrop,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command,
    builder::{OsStringValueParser, TypedValueParser},
    error::{ContextKind, ContextValue, Error, ErrorKind},
    value_parser,
};

use crate::{
    Workload,
    errors::{
        self, escaped,
        hints::{self, Row},
    },
    host::program_name,
    probe,
    process::{self, signals},
    sys::explain,
};

mod limits;
mod startup;

/// What a step does with its options and a workload: the whole container, from
/// the parent's view.
type Run<A> = fn(&A, &Workload) -> anyhow::Result<ExitCode>;

/// A step's program. Its `run` starts a container, its `probe` tells what is
/// isolated in it.
pub struct Program<A> {
    run: Run<A>,
    commands: Vec<Subcommand>,
    options: Vec<(Augment, Action<()>)>,
}

/// A subcommand, as far as it is needed to look for it: what it takes is put
/// together only for a command line that does not begin with `run`.
struct Subcommand {
    name: &'static str,
    augment: Augment,
    action: CommandAction,
}

impl Subcommand {
    fn command(&self) -> Command {
        (self.augment)(Command::new(self.name))
    }
}

/// What is done with what stands on the command line.
type Action<T> = Box<dyn Fn(&ArgMatches) -> anyhow::Result<T>>;

/// The same for a subcommand, which may want to know the whole command line.
type CommandAction =
    Box<dyn Fn(&ArgMatches, &dyn Fn() -> Command) -> anyhow::Result<ExitCode>>;

/// Adds options to a command.
type Augment = fn(Command) -> Command;

impl<A: Args> Program<A> {
    /// A program that runs its containers by `run`. `A` are the step's options.
    pub fn new(run: Run<A>) -> Program<A> {
        Program {
            run,
            commands: Vec::new(),
            options: Vec::new(),
        }
    }

    /// Adds options that stand before the subcommand and hold for all of them.
    /// `take` gets them before the subcommand begins.
    #[must_use]
    pub fn options<O: Args + 'static>(
        mut self,
        take: fn(&O) -> anyhow::Result<()>,
    ) -> Program<A> {
        let take: Action<()> =
            Box::new(move |matches| take(&O::from_arg_matches(matches)?));
        self.options.push((O::augment_args, take));
        self
    }

    /// Adds a subcommand.
    #[must_use]
    pub fn subcommand<D: Args + 'static>(
        mut self,
        name: &'static str,
        action: fn(&D) -> anyhow::Result<ExitCode>,
    ) -> Program<A> {
        let action: CommandAction =
            Box::new(move |matches, _| action(&D::from_arg_matches(matches)?));
        self.commands.push(Subcommand {
            name,
            augment: D::augment_args,
            action,
        });
        self
    }

    /// Adds a subcommand that is about the command line itself, such as one that
    /// writes its manual page.
    #[must_use]
    pub fn subcommand_about<D: Args + 'static>(
        mut self,
        name: &'static str,
        action: fn(&D, Command) -> anyhow::Result<ExitCode>,
    ) -> Program<A> {
        let action: CommandAction = Box::new(move |matches, line| {
            action(&D::from_arg_matches(matches)?, line())
        });
        self.commands.push(Subcommand {
            name,
            augment: D::augment_args,
            action,
        });
        self
    }

    /// Adds rows to the table of hints: what to do about the failures that only
    /// this program meets. They are looked at before those of the steps.
    #[must_use]
    pub fn hints(self, rows: &'static [Row]) -> Program<A> {
        hints::add(rows);
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
        let ready =
            limits::have_their_say().and_then(|()| signals::restore_defaults());
        let outcome = ready.and_then(|()| match self.run_alone() {
            Some(matches) => self.run(matches),
            None => self.act(self.command_line().try_get_matches()?),
        });
        match outcome {
            Ok(code) => process::end_as_the_command(code),
            Err(error) => match error.downcast::<Error>() {
                Ok(usage) => self.explain(usage),
                Err(error) => errors::failure(&error).into(),
            },
        }
    }

    /// What clap makes of a command line that begins with `run`, as most do, when
    /// it knows of no other command: to put them all together takes as long as
    /// what is needed. If anything is wrong, it is to be asked again, so that its
    /// answer is about the whole program.
    fn run_alone(&self) -> Option<ArgMatches> {
        let mut arguments = std::env::args_os().skip(1);
        let is_run = self.options.is_empty() && arguments.next()? == "run";
        let arguments: Vec<OsString> = arguments.collect();
        is_run.then(|| self.parse(&arguments).ok()).flatten()
    }

    fn run(&self, matches: ArgMatches) -> anyhow::Result<ExitCode> {
        // Nothing of it is freed: the kernel takes all memory at once, and after
        // a fork each page that is written to is copied first.
        let mut matches = ManuallyDrop::new(matches);
        if let Some(style) = matches.get_one::<String>("explain") {
            explain::start(match style.as_str() {
                "json" => explain::Style::Json,
                _ => explain::Style::Text,
            });
        }
        let workload = workload(&matches);
        let options = A::from_arg_matches_mut(&mut matches)?;
        (self.run)(&options, &workload)
    }

    fn act(&self, mut matches: ArgMatches) -> anyhow::Result<ExitCode> {
        for (_, take) in &self.options {
            take(&matches)?;
        }
        let Some((name, matches)) = matches.remove_subcommand() else {
            unreachable!("clap requires a subcommand");
        };
        match name.as_str() {
            "run" => self.run(matches),
            "probe" => {
                let keeps = self
                    .run_command()
                    .get_arguments()
                    .any(|argument| argument.get_long() == Some(probe::KEEP));
                let run = |options: &[OsString], workload: &Workload| {
                    let options = self.parse(options)?;
                    (self.run)(&A::from_arg_matches(&options)?, workload)
                };
                probe::main(run, keeps, matches.get_flag("json"))
            }
            name => {
                let mut commands = self.commands.iter();
                let found = commands.find(|it| it.name == name);
                let found = found.expect("clap knows only our commands");
                (found.action)(&matches, &|| self.command_line())
            }
        }
    }

    /// Prints help, or what is wrong with the command line, in one line. Not to
    /// have run anything is a failure of the tool: 125, where clap says 2.
    fn explain(&self, usage: Error) -> ExitCode {
        use ErrorKind::*;
        let help = DisplayHelpOnMissingArgumentOrSubcommand;
        match usage.kind() {
            DisplayHelp | DisplayVersion => match usage.print() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    let error = anyhow::Error::from(error).context("write(1)");
                    errors::failure(&error).into()
                }
            },
            kind if kind == help => {
                let _ = usage.print();
                errors::FAILED.into()
            }
            _ => errors::failure(&in_one_line(usage, &self.command_line()))
                .into(),
        }
    }

    fn command_line(&self) -> Command {
        let printable = escaped(program_name());
        let command = Command::new(program_name());
        let options = self.options.iter();
        options
            .fold(command, |command, (augment, _)| augment(command))
            // What their own documentation says is not about the program.
            .about(None::<&str>)
            .bin_name(&printable)
            .display_name(&printable)
            .version(env!("CARGO_PKG_VERSION"))
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(self.run_command())
            .subcommand(
                Command::new("probe")
                    .about(
                        "Tries from inside a container what reaches the host, \
                         and shows what is isolated",
                    )
                    .arg(
                        Arg::new("json")
                            .long("json")
                            .action(ArgAction::SetTrue)
                            .help("Print JSON instead of a table"),
                    ),
            )
            .after_help(
                "Which of the steps run on this machine: step06-full doctor",
            )
            .subcommands(self.commands.iter().map(Subcommand::command))
    }

    fn run_command(&self) -> Command {
        // -h is the host name, as with docker run.
        let command =
            A::augment_args(Command::new("run").disable_help_flag(true));
        // Behind an image no option is ours any more.
        let is_behind_another = command.get_positionals().next().is_some();
        // A tool that does more about one of these has an option of its own.
        let is_new = |it: &Arg| {
            command
                .get_arguments()
                .all(|own| own.get_id() != it.get_id())
        };
        let habits = as_with_docker().into_iter().filter(is_new);
        let habits: Vec<Arg> = habits.collect();
        command
            .arg(
                Arg::new("env")
                    .short('e')
                    .long("env")
                    .value_name("KEY=VALUE")
                    .action(ArgAction::Append)
                    .value_parser(OsStringValueParser::new().try_map(setting))
                    .help("Set an environment variable (repeatable)"),
            )
            .arg(
                Arg::new("workdir")
                    .short('w')
                    .long("workdir")
                    .value_name("DIR")
                    .value_parser(value_parser!(PathBuf))
                    .help("Working directory of the command"),
            )
            .args(habits)
            .arg(
                Arg::new("explain")
                    .long("explain")
                    .value_name("STYLE")
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("text")
                    .value_parser(["text", "json"])
                    .help("Show the system calls as they are made"),
            )
            .arg(
                Arg::new("help")
                    .long("help")
                    .action(ArgAction::Help)
                    .help("Print help"),
            )
            .arg(
                Arg::new("command")
                    .value_name("COMMAND")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(is_behind_another)
                    .value_parser(value_parser!(OsString))
                    .help("The command and its arguments [default: sh]"),
            )
    }

    /// What clap makes of `run` with these options and no command.
    fn parse(&self, options: &[OsString]) -> Result<ArgMatches, Error> {
        let name = OsString::from("run");
        let arguments = [name].into_iter().chain(options.iter().cloned());
        self.run_command().try_get_matches_from(arguments)
    }
}

/// What people add to `docker run` by habit. Ours does all three without being
/// asked: the container has the terminal, and nothing of it is left.
fn as_with_docker() -> [Arg; 3] {
    let accepted = |name: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue)
    };
    [
        accepted("interactive").short('i').help(
            "Keep standard input open (always so, unless it is a terminal \
             and the output goes elsewhere; accepted, as by Docker)",
        ),
        accepted("tty")
            .short('t')
            .help("Use the terminal (always so, if there is one)"),
        accepted("rm").help("Remove the container at its end (always so)"),
    ]
}

fn workload(matches: &ArgMatches) -> Workload {
    let command: Vec<OsString> = many(matches, "command");
    let environment = many(matches, "env");
    let workdir = matches.get_one::<PathBuf>("workdir").cloned();
    match command.is_empty() {
        true => Workload::shell(environment, workdir),
        false => Workload::new(command, environment, workdir),
    }
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

/// What clap says in several paragraphs: what is wrong, what may be meant, and
/// the usage.
fn in_one_line(mut usage: Error, program: &Command) -> anyhow::Error {
    // What was typed may look like the end of a paragraph.
    let typed: Vec<(ContextKind, String)> = usage
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, escaped(text))),
            _ => None,
        })
        .collect();
    for (kind, text) in typed {
        usage.insert(kind, ContextValue::String(text));
    }
    let text = usage.render().to_string();
    let mut paragraphs = text.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        lines.join(" ")
    });
    let wrong = paragraphs.next().unwrap_or_default();
    let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong).to_owned();

    let similar = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    let similar = similar.iter().find_map(|kind| match usage.get(*kind)? {
        ContextValue::String(name) => Some(name.clone()),
        ContextValue::Strings(names) => names.last().cloned(),
        _ => None,
    });
    let mut advice = String::new();
    if let Some(name) = similar {
        advice += &format!("did you mean {name}? ");
    }
    let synopsis =
        paragraphs.find_map(|it| it.strip_prefix("Usage: ").map(str::to_owned));
    if let Some(synopsis) = synopsis {
        advice += &format!("usage: {synopsis}; ");
    }
    if usage.kind() == ErrorKind::InvalidSubcommand {
        let names = program.get_subcommands().map(Command::get_name);
        let names: Vec<&str> = names.collect();
        advice += &format!("the commands are {}; ", names.join(", "));
    }
    advice += "see --help";
    anyhow::Error::msg(wrong).context(errors::Advice::only(advice))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::errors::pages::TROUBLESHOOTING;

    #[derive(Args)]
    struct Nothing {}

    const HINTS: &[Row] = crate::hints! {
        ["pulling "], any, always =>
            "the registry wants to know who you are", "log in",
            TROUBLESHOOTING, source "a program that does not exist";
    };

    #[test]
    fn a_program_brings_hints_of_its_own() {
        let error = anyhow::Error::msg("401").context("pulling \"busybox\"");
        assert_eq!(errors::advice(&error), None);
        let run: Run<Nothing> = |_, _| Ok(ExitCode::SUCCESS);
        let _ = Program::new(run).hints(HINTS);
        let advice = errors::advice(&error).expect("it is known now");
        assert_eq!(advice.fix, "log in");
    }

    #[derive(Args)]
    struct Global {
        #[arg(long)]
        root: Option<PathBuf>,
    }

    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();

    #[test]
    fn options_before_the_subcommand_hold_for_it() {
        let take = |global: &Global| {
            ROOT.get_or_init(|| global.root.clone());
            Ok(())
        };
        let program = Program::new(|_: &Nothing, _| unreachable!())
            .options(take)
            .subcommand("state", |_: &Nothing| {
                assert_eq!(ROOT.get(), Some(&Some("/run/x".into())));
                Ok(ExitCode::SUCCESS)
            });
        let parse = |line: &str| {
            program.command_line().try_get_matches_from(line.split(' '))
        };
        let matches = parse("program --root /run/x state").expect("is known");
        program.act(matches).expect("state is called");
        parse("program state --root /run/x").expect_err("it stands before");
    }
}
