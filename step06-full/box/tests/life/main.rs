//! Containers that stay, tried with the built program.

use std::process::ExitCode;

mod commit;
mod ends;
mod files;
mod logs;
mod names;
mod world;

fn main() -> ExitCode {
    harness::trial::of_built(&[
        commit::TESTS,
        ends::TESTS,
        files::TESTS,
        logs::TESTS,
        names::TESTS,
    ])
}
