//! The steps as labs: for those who teach.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use grader::{
    anywhere, grade,
    grade_all::{self, GradeAll},
    proof, start,
};

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
        /// Write the grade to a file, as Gradescope reads it
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Grade a folder of submissions, several at a time; another run goes on
    /// where this one was ended
    GradeAll {
        /// Each directory in it, and each archive `NAME.tar.gz`, is a submission
        folder: PathBuf,
        /// Which lab it is [default: the last step that is in each]
        #[arg(long)]
        step: Option<usize>,
        /// The table of the grades; what is in it already is not graded again
        #[arg(long, value_name = "FILE")]
        csv: PathBuf,
        /// Write each grade to a file here, as Gradescope reads it
        #[arg(long, value_name = "DIR")]
        json: Option<PathBuf>,
        /// How many at a time [default: as there is memory for, 3 GiB each]
        #[arg(long, value_name = "NUMBER")]
        jobs: Option<usize>,
    },
    /// Prove that the labs grade rightly: starters, solutions, each hole alone,
    /// submissions whose grade is known
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
            json,
        } => grade::main(&directory, step, json.as_deref()),
        Command::GradeAll {
            folder,
            step,
            csv,
            json,
            jobs,
        } => grade_all::main(&GradeAll {
            folder,
            step,
            csv,
            json,
            jobs,
        }),
        Command::Prove { steps } => proof::main(&steps),
        Command::RunPlan { plan } => anywhere::run_plan(&plan).map(|()| true),
        Command::OfStudents(command) => command.act(),
    }
}
