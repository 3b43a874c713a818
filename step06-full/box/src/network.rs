//! The command that shows networks, and takes away what is left of them.

use std::process::ExitCode;

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
        let names = prune()?;
        return print(
            &names.iter().map(|it| format!("{it}\n")).collect::<String>(),
        );
    }
    // What is left is not to be seen as if it was a network.
    if geteuid().is_root() {
        prune()?;
    }
    match args.picture {
        true => print(&picture::now()?.svg(true)),
        false => print(&report::text()?),
    }
}
