//! Networks, tried with the built program on a machine that is none: this one's
//! own network has nothing to do with them.

use std::{env, process::ExitCode};

use harness::Test;

mod closed;
mod lifetime;
mod outside;
mod plain_user;
mod probe;
mod reach;
mod room;
mod settings;
mod stays;

const TESTS: &[&[Test]] = &[
    reach::TESTS,
    closed::TESTS,
    settings::TESTS,
    lifetime::TESTS,
    outside::TESTS,
    plain_user::TESTS,
    stays::TESTS,
];

fn main() -> ExitCode {
    // In a container, and on the machines beside it, this program is the server
    // and its client.
    let arguments: Vec<String> = env::args().collect();
    if probe::is_meant(&arguments[0]) {
        return probe::main(&arguments[1..]);
    }
    harness::trial::of_built(TESTS)
}
