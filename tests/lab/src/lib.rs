//! What a student's workspace has: it builds the step, tries it in a sandbox, and
//! prints the score.
//!
//! The grader stands on it. What only that needs, to take holes out and to fill
//! them one by one, is in `tests/lab/grader`: students don't build it.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

mod agent;
pub mod anywhere;
pub mod bench;
pub mod build;
pub mod check;
pub mod checks;
pub mod description;
pub mod edit;
pub mod files;
mod filter;
pub mod holes;
pub mod judge;
pub mod limits;
pub mod lines;
pub mod plan;
mod read_only;
mod reset;
mod root;
pub mod sandbox;
pub mod sealed;

/// What students do.
#[derive(Subcommand)]
pub enum Command {
    /// For students: build the step, run its checks, and print the score
    Check {
        /// What this machine can't tell is tried in a virtual machine, which
        /// takes no privilege
        #[arg(long)]
        vm: bool,
    },
    /// For students: check again whenever a file of the step is saved
    Watch,
    /// For students: show one more hint
    Hint {
        /// The hole; the first that is still empty, if none is named
        hole: Option<String>,
    },
    /// For students: put the step back to the beginning
    Reset,
    /// What [`sandbox::run`] starts.
    #[command(hide = true)]
    InSandbox {
        /// The program to be checked
        program: PathBuf,
        /// What to do with it
        what: Vec<String>,
    },
    /// What is started in a container.
    #[command(hide = true)]
    Agent,
    /// What is started in a virtual machine: see [`anywhere`].
    #[command(hide = true)]
    RunPlan {
        /// The file that it is in
        plan: PathBuf,
    },
}

impl Command {
    /// Does it; true means that all is well.
    ///
    /// # Errors
    /// It can't be done.
    pub fn act(self) -> anyhow::Result<bool> {
        // What is started by another of these programs is the right one.
        let is_first = matches!(
            self,
            Command::Check { .. }
                | Command::Watch
                | Command::Hint { .. }
                | Command::Reset
        );
        if is_first {
            build::ensure_own_target()?;
        }
        match self {
            Command::Check { vm } => check::main(vm),
            Command::Watch => check::watch(),
            Command::Hint { hole } => check::hint(hole.as_deref()),
            Command::Reset => reset::reset().map(|()| true),
            Command::RunPlan { plan } => {
                anywhere::run_plan(&plan).map(|()| true)
            }
            // Nothing is left to be cleaned up in these processes.
            #[allow(clippy::exit)]
            Command::InSandbox { program, what } => {
                std::process::exit(sandbox::enter(&program, &what))
            }
            #[allow(clippy::exit)]
            Command::Agent => std::process::exit(agent::main()),
        }
    }
}

/// What the program `name` ends with, after it has said what went wrong.
pub fn exit_code(name: &str, result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::from(2)
        }
    }
}
