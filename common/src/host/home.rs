//! Where a user keeps what programs make.

use std::{env, path::PathBuf};

/// The directory that `variable` names, such as `XDG_CACHE_HOME`, or else
/// `below_home` in the user's own; `None` if neither is an absolute path. See
/// the XDG Base Directory Specification.
pub fn base_directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))
}
