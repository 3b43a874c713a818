//! podman drives the runtime, as root and as a plain user.

use std::process::ExitCode;

use harness::{
    Test,
    trial::{conclude, of_test},
};
use libtest_mimic::Arguments;

mod engine;
mod runs;
mod stays;

const TESTS: &[&[Test]] = &[runs::TESTS, stays::TESTS];

fn main() -> ExitCode {
    engine::leave_the_hosts_network();
    let mut arguments = Arguments::from_args();
    // They share one podman, which locks much.
    arguments.test_threads.get_or_insert(2);
    std::panic::set_hook(Box::new(|panic| harness::note(panic.to_string())));
    let tests = TESTS.concat().into_iter().map(of_test).collect();
    let code = conclude(&arguments, tests);
    engine::end();
    code
}
