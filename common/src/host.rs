//! What is asked of the machine: its cgroups and mounts, its users and their
//! ranges of ids, what is particular about it, and the way to a file.
//!
//! Everything here looks, and changes nothing. Only [`rootless`] does, which
//! makes this process one that the machine lets do more, and [`trees`].

pub mod cgroups;
pub mod files;
mod home;
pub mod machine;
pub(crate) mod mountinfo;
mod name;
pub mod passwd;
pub mod paths;
pub mod rootless;
pub mod subid;
pub mod trees;

pub use home::base_directory;
pub use name::{PROJECT, program_name};
