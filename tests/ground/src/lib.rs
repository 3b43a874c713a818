//! What the suite, the labs and the benchmark all stand on: the names of the
//! steps, and what `/proc` and `/sys/fs/cgroup` say.
//!
//! It knows nothing of `common`, which is under test, and depends on nothing:
//! students build it, too.

pub mod cgroups;
pub mod leftovers;
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

/// The parts of step 6, in order: the container after each group of mechanisms.
/// They are examples of its package, and the last one is its program.
pub const PARTS: [&str; 5] = [
    "step06a-user",
    "step06b-namespaces",
    "step06c-devices",
    "step06d-capabilities",
    "step06e-seccomp",
];

/// Where the container of a step, or of a part, is put together: a path that
/// begins at the top of the workspace.
pub fn main_of(name: &str) -> String {
    match PARTS.contains(&name) {
        true => format!("step06-full/examples/{name}.rs"),
        false => format!("{name}/src/main.rs"),
    }
}

/// The manifest that it is built by, likewise.
pub fn manifest_of(name: &str) -> String {
    let package = match PARTS.contains(&name) {
        true => "step06-full",
        false => name,
    };
    format!("{package}/Cargo.toml")
}
