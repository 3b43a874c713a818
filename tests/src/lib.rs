//! The harness of the suite: runs the built programs on the real kernel.
//!
//! A test is a plain function that is named after its claim. It starts a step
//! ([`Step`], [`Run`]), looks at what came out ([`Finished`]), and panics if the
//! claim is wrong. Each run is wrapped in "the host is unchanged" ([`host`]),
//! so no test has to ask for that.
//!
//! Environment variables:
//! - `STEPS_BIN_DIR`: a directory with the programs. Nothing is built then, so
//!   a plain user can run what root has built, in a checkout that is read-only.
//! - `SUITE_NO_SKIPS=1`: a test that cannot run here fails, with the reason.
//! - `SUITE_TIME_FACTOR=3`: what waits, waits three times as long; for a machine
//!   that is emulated.
//! - `SUITE_SEED=4711`: repeats the random numbers of a test that has failed.
//! - `SUITE_DISPOSABLE_MACHINE=1`: the machine is there for nothing else, and
//!   thrown away afterwards, so a test may change its settings.
//! - `SUITE_DEBIAN`: a root file system with the programs that people run, see
//!   tests/debian/with.
//! - `BOX` and `STEP06_OCI`: for the tests of what stands above step 6, the
//!   programs that they try, where these are not those that Cargo has built.
//!
//! The tests run in threads of one process, so this process must never fork,
//! unshare or change its directory; whatever needs that is a program.

pub mod host;
pub mod image;
pub mod needs;
pub mod programs;
pub mod pty;
mod random;
mod run;
mod step;
pub mod trace;
pub mod trial;
mod wait;

pub use ground::Random;
pub use random::{random, seed};
pub use run::{Finished, Run, Running};
pub use step::{
    ALL, CGROUPS, FULL, MOUNT, OVERLAY, PARTS_OF_FULL, PID, Step, UTS,
};
pub use trial::{Test, main, note, skip};
pub use wait::{LIMIT, wait_until};
