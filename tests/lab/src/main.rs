//! Labs: starters with holes, a grader, and mutants to try the suite on.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

mod check;
mod confine;
mod edit;
mod grade;
mod lab;
mod limits;
mod mutants;
mod proof;
mod sandbox;
mod start;
mod workshop;

/// The steps as labs: starters with holes, checks, grades
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// For students: build the step, run its checks, and print the score
    Check,
    /// For students: check again whenever a file of the step is saved
    Watch,
    /// For students: show one more hint
    Hint {
        /// The hole; the first that is still empty, if none is named
        hole: Option<String>,
    },
    /// For students: put the step back to the beginning
    Reset,
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
    /// Build versions of the steps that are known to be wrong, and see whether
    /// the suite notices
    Mutants {
        /// Only those whose name contains one of these
        names: Vec<String>,
        /// Only show what there is
        #[arg(long)]
        list: bool,
    },
    /// Make a workspace of the steps with one of these mistakes in it, or with
    /// several
    Mutant {
        /// As `mutants --list` shows them
        #[arg(required = true)]
        names: Vec<String>,
        /// A new directory
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    #[command(hide = true)]
    InSandbox { program: PathBuf, script: String },
    #[command(hide = true)]
    RunPlan { plan: PathBuf },
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

/// Does it; true means that all is well.
fn act(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Check => check::main(),
        Command::Watch => check::watch(),
        Command::Hint { hole } => check::hint(hole.as_deref()),
        Command::Reset => start::reset().map(|()| true),
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
        Command::Mutants { names, list } if list => {
            mutants::list(&names).map(|()| true)
        }
        Command::Mutants { names, .. } => mutants::run(&names),
        Command::Mutant { names, to } => {
            mutants::make(&names, &to).map(|()| true)
        }
        Command::InSandbox { program, script } => {
            let code = sandbox::enter(&program, &script);
            // Nothing is left to be cleaned up in this process.
            #[allow(clippy::exit)]
            std::process::exit(code)
        }
        Command::RunPlan { plan } => run_plan(&plan),
    }
}

fn run_plan(plan: &Path) -> anyhow::Result<bool> {
    let plan: check::Plan = serde_json::from_str(&workshop::read(plan)?)?;
    let outcomes = serde_json::to_string(&plan.run())?;
    println!("\n{}{outcomes}", grade::OUTCOMES);
    Ok(true)
}
