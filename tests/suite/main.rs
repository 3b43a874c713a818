//! What each step isolates and what it does not, on the real kernel.

use std::process::ExitCode;

use harness::Test;

mod bad_input;
mod cache;
mod cgroups;
mod doctor;
mod doors;
mod explain;
mod full;
mod hints;
mod house;
mod ids;
mod lifetime;
mod mount;
mod odd_machines;
mod overlay;
mod pid;
mod real_programs;
mod refusals;
mod scoreboard;
mod terminal;
mod uts;

/// All tests, in the order of the book.
const SUITE: &[&[Test]] = &[
    uts::TESTS,
    explain::TESTS,
    pid::TESTS,
    mount::TESTS,
    cgroups::TESTS,
    overlay::TESTS,
    full::TESTS,
    ids::TESTS,
    cache::TESTS,
    doors::TESTS,
    scoreboard::TESTS,
    lifetime::TESTS,
    terminal::TESTS,
    bad_input::TESTS,
    refusals::TESTS,
    doctor::TESTS,
    odd_machines::TESTS,
    real_programs::TESTS,
    house::TESTS,
    hints::TESTS,
];

fn main() -> ExitCode {
    harness::main(SUITE)
}
