//! The command that shows networks.

use std::process::ExitCode;

use step06_network::{picture, report};

use crate::output::print;

/// Show the networks, who is in them, and what this machine can do for them
#[derive(clap::Args)]
pub(crate) struct Show {
    /// Print a picture instead, as SVG: bridges, cables, addresses and ports
    #[arg(long)]
    picture: bool,
}

pub(crate) fn show(args: &Show) -> anyhow::Result<ExitCode> {
    match args.picture {
        true => print(&picture::now()?.svg(true)),
        false => print(&report::text()?),
    }
}
