//! The plumbing under every step. It isolates nothing.
//!
//! Everything that makes a container a container is in the libraries of the
//! steps. What is left for this crate is what no step wants to show twice: the
//! command line ([`Program`]), creating a process and holding it until its
//! parent is ready ([`NewProcess`]), the command that runs inside
//! ([`Workload`]), signals, the terminal, becoming root without being root
//! ([`rootless`]), a root file system to start with ([`rootfs`]), where the
//! cgroups are ([`cgroups`]), the scoreboard ([`probe`]), the doctor, and errors
//! that say what to do ([`report`]).

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::OnceLock,
};

pub mod cgroups;
mod cli;
mod doctor;
pub mod files;
mod gate;
mod hints;
pub mod machine;
pub mod memfd;
pub mod passwd;
pub mod probe;
pub mod process;
pub mod report;
pub mod rootfs;
pub mod rootless;
pub mod signals;
mod startup;
pub mod subid;
mod terminal;
mod workload;
pub mod xattr;

pub use cli::Program;
pub use process::{Child, NewProcess};
pub use workload::Workload;

/// The project's name: in cache directories and in the names of cgroups.
pub const PROJECT: &str = "container-in-six-steps";

/// The name under which this program was started, without directories:
/// `step03-mount`. It begins every message.
pub fn program_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let argv0 = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&argv0).file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    })
}

/// Reads a file below `/proc` or `/sys`.
///
/// The kernel writes such a file anew for each read(2), and says that its size
/// is 0, so that fs::read would begin with 32 bytes at a time.
pub fn read_kernel_file(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}
