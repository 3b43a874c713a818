//! The runtime by hand: bundles that the tests write, each of which asks for
//! one thing. Which sentence of the specification a test stands for is in
//! README.md beside this directory.

use std::process::ExitCode;

use harness::{Test, trial};

mod bundle;
mod clocks;
mod config;
mod hooks;
mod hostile;
mod interfaces;
mod itself;
mod killed;
mod life;
mod limits;
mod linux;
mod places;
mod process;
mod root;
mod rootless;
mod shared;
mod systemd;
mod taken;
mod threads;

const TESTS: &[&[Test]] = &[
    life::TESTS,
    limits::TESTS,
    config::TESTS,
    places::TESTS,
    process::TESTS,
    root::TESTS,
    linux::TESTS,
    clocks::TESTS,
    interfaces::TESTS,
    hooks::TESTS,
    hostile::TESTS,
    killed::TESTS,
    rootless::TESTS,
    shared::TESTS,
    systemd::TESTS,
    taken::TESTS,
    threads::TESTS,
];

fn main() -> ExitCode {
    if itself::is_asked() {
        return ExitCode::SUCCESS;
    }
    trial::of_built(TESTS)
}
