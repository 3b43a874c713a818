//! Containers that stay, tried with the built program.

use std::process::ExitCode;

mod commit;
mod ends;
mod files;
mod killed;
mod logs;
mod names;
mod options;
mod world;

fn main() -> ExitCode {
    harness::trial::of_built(&[
        commit::TESTS,
        ends::TESTS,
        files::TESTS,
        killed::TESTS,
        logs::TESTS,
        names::TESTS,
        options::TESTS,
    ])
}
