//! What is done with images, tried with the built program.

use std::process::ExitCode;

mod documents;
mod image;
mod museum;
mod real;
mod registry;
mod run;
mod said;
mod server;

fn main() -> ExitCode {
    harness::trial::of_built(&[
        documents::TESTS,
        museum::TESTS,
        real::TESTS,
        registry::TESTS,
        run::TESTS,
        said::TESTS,
    ])
}
