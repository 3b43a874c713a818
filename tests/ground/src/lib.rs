//! What the suite, the labs and the benchmark all stand on: the names of the
//! steps, and what `/proc` and `/sys/fs/cgroup` say.
//!
//! It knows nothing of `common`, which is under test, and depends on nothing:
//! students build it, too.

pub mod cgroups;
pub mod processes;
mod random;

pub use random::Random;

/// The packages of the steps, in order; so are their programs called.
pub const STEPS: [&str; 6] = [
    "step01-uts",
    "step02-pid",
    "step03-mount",
    "step04-cgroups",
    "step05-overlay",
    "step06-full",
];
