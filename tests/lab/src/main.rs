//! A step as a lab, for students.

use std::process::ExitCode;

use clap::Parser;

/// A step as a lab: fill its holes
#[derive(Parser)]
#[command(bin_name = "cargo lab")]
struct Arguments {
    #[command(subcommand)]
    command: lab::Command,
}

fn main() -> ExitCode {
    lab::exit_code("lab", Arguments::parse().command.act())
}
