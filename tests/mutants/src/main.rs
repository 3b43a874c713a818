//! Mutants: versions of the steps that are known to be wrong. For each there is
//! a test that notices it, or the suite has a gap.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

mod mutant;
mod stage;
mod trial;

/// Versions of the steps that are known to be wrong
#[derive(Parser)]
#[command(bin_name = "cargo mutant")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show them, each with a sentence on what is wrong and who notices it
    List {
        /// Only those whose name contains one of these
        names: Vec<String>,
    },
    /// Make a workspace of the steps with one of these mistakes in it, or with
    /// several
    Make {
        /// As `list` shows them
        #[arg(required = true)]
        names: Vec<String>,
        /// A new directory
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Build them, and see whether the suite notices
    Try {
        /// Only those whose name contains one of these
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::List { names } => mutant::list(&names).map(|()| true),
        Command::Make { names, to } => mutant::make(&names, &to).map(|()| true),
        Command::Try { names } => trial::run(&names),
    };
    lab::exit_code("mutants", result)
}
