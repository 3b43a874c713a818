//! The steps as labs: for those who teach.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use grader::{
    grade,
    grade_all::{self, GradeAll},
    proof, similar, start,
    variant::Task,
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
        /// Other tasks in some holes, 1 or 2; 0 is the lab itself
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        variant: u32,
    },
    /// Pack what students get, an archive for each lab
    Export {
        /// Where the archives go
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Other tasks in some holes, 1 or 2; 0 is the lab itself
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        variant: u32,
    },
    /// Grade a submission, each hole alone
    Grade {
        /// A student's workspace, or only the directory of the step
        directory: PathBuf,
        /// Which lab it is [default: the last step that is there]
        #[arg(long)]
        step: Option<usize>,
        /// Which variant was handed out
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        variant: u32,
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
        /// Which variant each has got: a table with lines `NAME,NUMBER`
        #[arg(long, value_name = "FILE")]
        variants: Option<PathBuf>,
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
    /// Show which submissions of a folder look like copies of one another
    Similar {
        /// Each directory in it, and each archive `NAME.tar.gz`, is a submission
        folder: PathBuf,
        /// Which lab it is [default: the last step that is in the first]
        #[arg(long)]
        step: Option<usize>,
        /// Which variant was handed out
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        variant: u32,
    },
    /// Prove that the labs grade rightly: starters, solutions, each hole alone,
    /// submissions whose grade is known
    Prove {
        /// Only these labs
        steps: Vec<usize>,
    },
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
        Command::Start { step, to, variant } => {
            start::start(&Task::load(step, variant)?, &to).map(|()| true)
        }
        Command::Export { to, variant } => {
            for archive in start::export(&to, variant)? {
                println!("{}", archive.display());
            }
            Ok(true)
        }
        Command::Grade {
            directory,
            step,
            variant,
            json,
        } => grade::main(&directory, step, variant, json.as_deref()),
        Command::GradeAll {
            folder,
            step,
            variants,
            csv,
            json,
            jobs,
        } => grade_all::main(&GradeAll {
            folder,
            step,
            variants,
            csv,
            json,
            jobs,
        }),
        Command::Similar {
            folder,
            step,
            variant,
        } => similar::main(&folder, step, variant),
        Command::Prove { steps } => proof::main(&steps),
        Command::OfStudents(command) => command.act(),
    }
}
