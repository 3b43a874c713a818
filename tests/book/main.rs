//! The book: that it is in order, and that what it shows is what happens.
//!
//! `cargo test -p book-tests` runs it. Each session is typed twice, since the
//! steps make their images of a static BusyBox where there is one, and of the
//! machine's own tools elsewhere. Five environment variables:
//! - `SESSIONS=record`: what the sessions show is written into the chapters;
//! - `SESSIONS_USER=NAME`: who types at `host$` when the tests run as root;
//! - `SESSIONS_BUSYBOX=PATH`: the static BusyBox;
//! - `SESSIONS_OF_KERNEL=1`: only what this machine's kernel has a say in; the
//!   rest is executed on another machine;
//! - `STEPS_BIN_DIR`: as in the suite.

use std::{process::ExitCode, sync::Arc};

mod chapters;
mod checks;
mod reader;
mod sessions;

fn main() -> ExitCode {
    let mut trials: Vec<_> = checks::TESTS
        .iter()
        .copied()
        .map(harness::trial::of_test)
        .collect();
    // Directories that are gone when all trials have run.
    let programs = Arc::new(sessions::Programs::new());
    trials.extend(sessions::trials(&programs));
    harness::trial::run(trials)
}
