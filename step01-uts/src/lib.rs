//! Step 1: a host name of its own.
//!
//! A UTS namespace holds two strings, the host name and the NIS domain name.
//! A process that is created with `CLONE_NEWUTS` starts with a copy of its
//! parent's strings; what it sets from then on, nobody outside sees. It is the
//! smallest namespace there is, and most others work the same way: a flag when
//! the process is created, then a call from the inside. See uts_namespaces(7).

use anyhow::Context;
use common::sys;

/// The kernel's limit for a host name, in bytes. See sethostname(2), NOTES.
const HOST_NAME_MAX: usize = 64;

/// Sets the host name of this process's UTS namespace.
///
/// Must run in a process created with `CLONE_NEWUTS`; otherwise it renames the
/// host, or fails with `EPERM`. See sethostname(2).
pub fn set_hostname(name: &str) -> anyhow::Result<()> {
    sys::sethostname(name).context("naming the container")
}

/// Checks a host name from the command line. The kernel would take any bytes,
/// but a name with a line break in it deceives whoever reads it.
///
/// So it is neither empty nor too long, and has no blanks and no control
/// characters in it.
///
/// # Errors
/// What is wrong with the name.
pub fn parse_hostname(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("a host name can't be empty".into());
    }
    if name.len() > HOST_NAME_MAX {
        let length = name.len();
        return Err(format!(
            "it has {length} bytes, and the kernel takes {HOST_NAME_MAX}"
        ));
    }
    if name.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(
            "a host name has no spaces and no control characters".into()
        );
    }
    Ok(name.to_owned())
}
