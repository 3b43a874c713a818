//! The steps as labs: for those who teach.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use grader::{grade, proof, start};

/// The steps as labs: starters with holes, checks, grades
#[derive(Parser)]
#[command(bin_name = "cargo lab")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the workspace of a lab: the steps below complete, this one with
    /// holes
    Start {
        /// 1 to 6
        step: usize,
        /// A new directory, outside of the repository
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Pack what students get, an archive for each lab
    Export {
        /// Where the archives go
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Grade a submission, each hole alone
    Grade {
        /// A student's workspace, or only the directory of the step
        directory: PathBuf,
        /// Which lab it is [default: the last step that is there]
        #[arg(long)]
        step: Option<usize>,
        /// Derive names, limits and contents of files from this
        #[arg(long, value_name = "ID", default_value = "")]
        student: String,
        /// Write the grade to a file, as Gradescope reads it
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Prove that the labs grade rightly: starters, solutions, each hole alone
    Prove {
        /// Only these labs
        steps: Vec<usize>,
    },
    #[command(hide = true)]
    RunPlan { plan: PathBuf },
    // A check starts this program once more, as a sandbox.
    #[command(flatten)]
    OfStudents(lab::Command),
}

fn main() -> ExitCode {
    lab::exit_code("lab", act(Arguments::parse().command))
}

/// Does it; true means that all is well.
fn act(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Start { step, to } => start::start(step, &to).map(|()| true),
        Command::Export { to } => {
            for archive in start::export(&to)? {
                println!("{}", archive.display());
            }
            Ok(true)
        }
        Command::Grade {
            directory,
            step,
            student,
            json,
        } => grade::main(&directory, step, &student, json.as_deref()),
        Command::Prove { steps } => proof::main(&steps),
        Command::RunPlan { plan } => grade::run_plan(&plan).map(|()| true),
        Command::OfStudents(command) => command.act(),
    }
}
