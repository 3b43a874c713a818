//! A process from its birth to its exit code: the container's first one, the
//! gate that holds it until its parent is ready, the children of its init, their
//! signals, their terminal and their ends.
//!
//! What a process *does* is not known here: it is handed in as a function.
#![allow(unsafe_code)]

mod child;
mod descriptors;
mod fork;
mod gate;
mod init;
mod new_process;
pub mod signals;
mod stack;
mod stat;
mod status;
mod terminal;

pub use child::Child;
pub(crate) use child::end_as_the_command;
pub use descriptors::{
    close_inherited_descriptors, close_own_descriptors, lead_to_null,
};
pub(crate) use fork::{VFORK, vfork};
pub use fork::{exit, fork, fork_both, sibling};
pub(crate) use gate::end_if_unheard;
pub use gate::{EndsWith, Gate, News, die_with_parent, end_with, tell};
pub use init::exit_as;
pub use new_process::NewProcess;
pub use signals::{pass_on, pass_on_to_group};
pub use stat::Stat;
pub(crate) use status::end;
pub use status::{Change, End, reap, wait};
