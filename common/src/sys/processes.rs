//! What a process is: its names, ids, namespaces, rights and limits.

use std::ffi::OsStr;

use nix::{
    sched::{self, CloneFlags},
    unistd::{self},
};

use super::{Result, call};

/// See sethostname(2).
pub fn sethostname(name: impl AsRef<OsStr>) -> Result<()> {
    let name = name.as_ref();
    let length = name.len();
    call!(sethostname(name, length), unistd::sethostname(name))
}

/// See unshare(2).
pub fn unshare(flags: CloneFlags) -> Result<()> {
    call!(unshare(flags), sched::unshare(flags))
}
