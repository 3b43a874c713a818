//! Step 6: everything else that makes a container.
//!
//! Steps 1 to 5 have given the container a name, processes, a root file system
//! and limits of its own. What is left is one file a mechanism; `main.rs` has the
//! order in which they are called, and each says what must come before it:
//!
//! - [`user`]: root inside is somebody else outside;
//! - [`inheritance`]: what a process gets from its parent without asking;
//! - [`namespaces`]: a cgroup tree that begins at the container;
//! - [`network`]: interfaces and ports of its own;
//! - [`volumes`]: directories of the host that are shared on purpose;
//! - [`devices`] and [`kernel_files`]: `/dev`, `/sys` and `/proc` without what
//!   reaches the hardware or the kernel's settings;
//! - [`cgroup_files`] and [`names`]: what programs ask about themselves, their
//!   limits and their name;
//! - [`privileges`], [`landlock`] and [`seccomp`]: capabilities, files and
//!   system calls;
//! - [`stub`]: the program that executes the command.
//!
//! [`mount_api`] handles mounts as descriptors instead of paths, the
//! [`doctor`] tries all of it; [`enter`] and [`freezer`] are for who comes later,
//! and [`terminal`] for who wants one of the container's own.

pub mod cgroup_files;
pub mod devices;
pub mod doctor;
pub mod enter;
pub mod freezer;
pub mod inheritance;
pub mod kernel_files;
pub mod landlock;
pub mod mount_api;
pub mod names;
pub mod namespaces;
pub mod network;
pub mod privileges;
pub mod seccomp;
pub mod stub;
pub mod terminal;
pub mod user;
pub mod volumes;
