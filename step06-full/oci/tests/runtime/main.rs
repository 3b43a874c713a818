//! The runtime by hand: bundles that the tests write, each of which asks for
//! one thing. Which sentence of the specification a test stands for is in
//! README.md beside this directory.

use std::process::ExitCode;

use harness::{
    Test,
    trial::{conclude, of_test},
};
use libtest_mimic::Arguments;

mod bundle;
mod config;
mod hooks;
mod hostile;
mod killed;
mod life;
mod linux;
mod places;
mod process;
mod root;
mod rootless;
mod shared;
mod systemd;

const TESTS: &[&[Test]] = &[
    life::TESTS,
    config::TESTS,
    places::TESTS,
    process::TESTS,
    root::TESTS,
    linux::TESTS,
    hooks::TESTS,
    hostile::TESTS,
    killed::TESTS,
    rootless::TESTS,
    shared::TESTS,
    systemd::TESTS,
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    std::panic::set_hook(Box::new(|panic| harness::note(panic.to_string())));
    let tests = TESTS.concat().into_iter().map(of_test).collect();
    conclude(&arguments, tests)
}
