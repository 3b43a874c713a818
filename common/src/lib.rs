//! The plumbing under every step. It isolates nothing: everything that makes a
//! container a container is in the libraries of the steps.
//!
//! It has eight rooms, and each uses only rooms below it:
//!
//! - `program`: what a `main.rs` calls, the command line of a step;
//! - [`probe`]: the scoreboard, what is isolated in a step, decided by trying;
//! - `workload`: what runs inside, a command or a function;
//! - [`process`]: a process from its birth to its exit code, with the gate that
//!   holds it, its signals and its terminal;
//! - [`rootfs`]: a root file system to start with;
//! - [`errors`]: how errors and warnings are printed, and what to do about them;
//! - [`host`]: what is asked of the machine;
//! - [`sys`]: the system calls themselves.
//!
//! A function that fails returns the call that has failed, as [`sys`] prints it.
//! That is not said at each. Under `# Errors`, last in the documentation, stands
//! what else it refuses, and which errno means what.

pub mod errors;
pub mod host;
pub mod probe;
pub mod process;
mod program;
pub mod rootfs;
pub mod sys;
mod workload;

pub use host::rootless;
pub use process::{Child, NewProcess};
pub use program::Program;
pub use workload::{ImageSays, STARTED, Workload};
