//! Labs: starters with holes, a grader, and mutants to try the suite on.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod edit;
mod mutants;
mod workshop;

/// The steps as labs: starters with holes, checks, grades
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build versions of the steps that are known to be wrong, and see whether
    /// the suite notices
    Mutants {
        /// Only those whose name contains one of these
        names: Vec<String>,
        /// Only show what there is
        #[arg(long)]
        list: bool,
    },
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn act(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Mutants { names, list } if list => {
            mutants::list(&names)?;
            Ok(true)
        }
        Command::Mutants { names, .. } => mutants::run(&names),
    }
}
