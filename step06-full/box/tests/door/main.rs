//! More commands in a container, and terminals: tried with the built program.

use std::{env, process::ExitCode};

#[path = "../life/world.rs"]
#[allow(dead_code, reason = "the tests of life use all of it")]
mod world;

mod commands;
mod confined;
mod killed;
mod spies;
mod terminals;

fn main() -> ExitCode {
    // In a container, this program is a spy.
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments == [spies::WORD] {
        spies::spy();
    }
    harness::trial::of_built(&[
        commands::TESTS,
        confined::TESTS,
        killed::TESTS,
        spies::TESTS,
        terminals::TESTS,
    ])
}
