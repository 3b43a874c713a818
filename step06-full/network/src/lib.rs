//! The network of a container: how others reach it, and how it reaches them.
//!
//! Step 6 leaves a container with a network namespace of its own in which there
//! is nothing but the loopback interface. What is in this wing lets something
//! in, and each of it without giving the container a right over its network:
//!
//! - [`publish`]: a port of the host that leads to a port of the container,
//!   without any network between them;
//! - [`bridge`], [`veth`] and [`addresses`]: a switch, cables to it, and who has
//!   which address, each asked for by [`netlink`];
//! - [`moving`]: interfaces of the host that change sides;
//! - [`nat`] and [`forwarding`]: the way out, or [`user_mode`] for plain users;
//! - [`report`] and [`picture`]: what there is.
//!
//! See network_namespaces(7).

pub mod addresses;
pub mod bridge;
mod cables;
pub mod firewall;
pub mod forwarding;
mod free_name;
mod helper;
pub mod interfaces;
mod joined;
mod keeper;
mod localhost;
pub mod moving;
pub mod names;
pub mod nat;
pub mod netlink;
mod networks;
mod options;
pub mod picture;
pub mod place;
pub mod publish;
pub mod report;
mod reverse_path;
pub mod subnet;
mod sweep;
mod tables;
pub mod user_mode;
pub mod veth;
mod way_out;

pub use networks::Network;
pub use options::Networks;
pub use sweep::{Swept, prune};
