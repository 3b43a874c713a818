//! The system calls: one function each, with the name and the order of
//! arguments that it has in its man page, section 2.
//!
//! The error of such a function *is* the call, as strace(1) prints it, made from
//! the arguments themselves, so that it can't lie:
//!
//! ```text
//! mount("proc", ".", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL): EPERM: Operation not permitted
//! ```
//!
//! A descriptor is printed with what it leads to, as by `strace -y`:
//! `4</sys/fs/cgroup>`. Nothing here decides anything: what a call is good for,
//! and what its errors mean, is where it is made.
#![allow(unsafe_code)]

use std::fmt;

use libc::{c_int, c_long};
use nix::errno::Errno;

mod argument;
mod capabilities;
mod descriptors;
mod files;
mod inherited;
pub mod memfd;
mod mounts;
mod processes;
mod security;
pub mod signals;
mod sockets;
pub mod xattr;

pub use argument::{NULL, Null, OrNull};
pub use capabilities::*;
pub use descriptors::*;
pub use files::*;
pub use inherited::*;
pub use mounts::*;
pub use processes::*;
pub use security::*;
pub use sockets::*;

/// What a call returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A call that has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The call, as strace(1) prints it.
    call: String,
    /// Why it has failed.
    pub errno: Errno,
}

impl Error {
    /// An error of the call whose text `call` is. For the few that have no
    /// function here.
    pub fn new(call: impl Into<String>, errno: Errno) -> Error {
        let call = call.into();
        Error { call, errno }
    }
}

/// The call alone: the errno is the next link of the chain.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.call)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.errno)
    }
}

/// Makes a call, `$made`, and if it fails, its error from the name and the
/// arguments that the man page has.
macro_rules! call {
    ($name:ident($($argument:expr),* $(,)?), $made:expr) => {
        $made.map_err(|errno| {
            let arguments: &[String] =
                &[$($crate::sys::argument::Argument::text(&$argument)),*];
            let name = stringify!($name);
            $crate::sys::Error::new(
                format!("{name}({})", arguments.join(", ")),
                errno,
            )
        })
    };
}
use call;

/// What libc::syscall(2) returns as a long, of a call that returns an int: the
/// number of a descriptor or of a process.
fn int(result: c_long) -> c_int {
    result.try_into().expect("the kernel has returned an int")
}
