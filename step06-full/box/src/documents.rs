//! What is made of the command line itself.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Command;
use clap_complete::{Shell, generate};

use crate::output::print;

/// Print what a shell needs to complete the words of this program
#[derive(clap::Args)]
pub(crate) struct Completions {
    /// Shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn completions(
    args: &Completions,
    mut command: Command,
) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    generate(args.shell, &mut command, "box", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Write the manual pages of this program and of its commands
#[derive(clap::Args)]
pub(crate) struct Manual {
    /// Directory that gets them, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn manual(
    args: &Manual,
    command: Command,
) -> anyhow::Result<ExitCode> {
    let directory = &args.directory;
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .with_context(|| format!("writing manual pages to {directory:?}"))?;
    Ok(ExitCode::SUCCESS)
}
