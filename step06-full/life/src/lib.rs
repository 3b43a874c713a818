//! Life: a container that goes on when whoever has started it is gone.
//!
//! Somebody has to stay: a parent that reaps the container, keeps its exit code
//! and its output, and ends with it. It is the parent of the six steps, in the
//! background, one for each container. There is no daemon.
//!
//! - [`Place`]: where what is known of containers lies;
//! - [`record`]: what that is, and how it is written;
//! - [`Monitor`]: the parent that stays;
//! - [`pump`](Log): from the container's output to a file that can't fill the
//!   disk;
//! - [`Namespaces`]: handed out by a socket to who wants to enter;
//! - [`Container`]: one of them, seen by everybody else;
//! - [`Exec`]: another command in it, and its terminal.
//!
//! Whether a container lives is a lock of its parent's, which the kernel lets
//! go of, however that process ends: no file says it, so none can lie.

mod attach;
mod begin;
mod boot;
mod cgroup;
mod console;
mod container;
mod exec;
mod helper;
mod inside;
mod instant;
mod kept;
mod keys;
mod lock;
mod log;
mod monitor;
mod namespaces;
mod place;
mod process;
mod pump;
pub mod record;
mod relay;
mod remove;
mod restart;
mod screen;
mod server;
mod status;
mod streams;
mod sweep;
mod threshold;
mod visit;
mod wait;
mod words;

pub use begin::{AGAIN, LifeOptions, Role};
pub use cgroup::Usage;
pub use container::Container;
pub use exec::Exec;
pub use instant::Instant;
pub use keys::DetachKeys;
pub use log::{Line, Log, Stream};
pub use monitor::Monitor;
pub use namespaces::Namespaces;
pub use place::Place;
pub use record::Subject;
pub use status::Status;
pub use sweep::sweep;
pub use visit::{VISIT, Visitor};
