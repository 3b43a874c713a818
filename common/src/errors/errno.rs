//! The errno in an error.

use std::io;

use nix::errno::Errno;

/// The errno at the end of an error's chain.
pub fn errno(error: &anyhow::Error) -> Option<Errno> {
    let root = error.root_cause();
    if let Some(error) = root.downcast_ref::<io::Error>() {
        return error.raw_os_error().map(Errno::from_raw);
    }
    root.downcast_ref::<Errno>().copied()
}
