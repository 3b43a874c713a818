//! containerd drives the runtime: by ctr(8), its tool, and by the interface
//! through which Kubernetes does it (CRI).

use std::process::ExitCode;

use harness::{
    Test,
    trial::{conclude, of_test},
};
use libtest_mimic::Arguments;

mod cri;
mod ctr;
mod image;
mod place;

const TESTS: &[&[Test]] = &[ctr::TESTS, cri::TESTS];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each has a containerd of its own.
    arguments.test_threads.get_or_insert(2);
    std::panic::set_hook(Box::new(|panic| harness::note(panic.to_string())));
    let tests = TESTS.concat().into_iter().map(of_test).collect();
    conclude(&arguments, tests)
}
