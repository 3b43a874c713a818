//! The command that shows networks, and takes away what is left of them.

use std::process::ExitCode;

use common::errors;
use nix::unistd::geteuid;
use step06_network::{picture, prune, report};

use crate::output::print;

/// Show the networks, who is in them, and what this machine can do for them
#[derive(clap::Args)]
pub(crate) struct Show {
    /// Print a picture instead, as SVG: bridges, cables, addresses and ports
    #[arg(long, conflicts_with = "action")]
    picture: bool,
    action: Option<Action>,
}

#[derive(Clone, clap::ValueEnum)]
enum Action {
    /// Remove what is left of networks that nobody is in, and print their names
    Prune,
}

pub(crate) fn show(args: &Show) -> anyhow::Result<ExitCode> {
    if args.action.is_some() {
        return remove();
    }
    // What is left is not to be seen as if it was a network. But who may not
    // remove it, root of a user namespace for example, may see it.
    if geteuid().is_root()
        && let Err(error) = prune()
    {
        errors::warning(&error);
    }
    match args.picture {
        true => print(&picture::now()?.svg(true)),
        false => print(&report::text()?),
    }
}

/// What fails was said, and the rest is done: then the exit code is 1.
fn remove() -> anyhow::Result<ExitCode> {
    let swept = prune()?;
    let gone = swept.gone.iter().map(|it| format!("{it}\n"));
    let code = print(&gone.collect::<String>())?;
    match swept.failed {
        true => Ok(ExitCode::FAILURE),
        false => Ok(code),
    }
}
