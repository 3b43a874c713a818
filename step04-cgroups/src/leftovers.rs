//! What to call a cgroup so that it can be known for dead later.
//!
//! A run that is killed by SIGKILL can't remove its cgroup. The name says whose
//! it was: `container-in-six-steps.4026531836.1234.567890` belongs to process
//! 1234 of the PID namespace 4026531836, started 567890 clock ticks after boot.
//! The time tells it from a later process with the same number.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::host::PROJECT;
use common::process::Stat;
use common::{errors, sys};
use nix::errno::Errno;
use nix::unistd::{Pid, getpid};

/// The ending that tells the leaf of a run from the cgroup of its container.
pub(crate) const LEAF: &str = "-leaf";

/// What this process calls the cgroups that it makes.
#[derive(Debug)]
pub(crate) struct Name {
    /// What the names of all runs in our PID namespace begin with.
    prefix: String,
    /// The prefix, our process number and our start time.
    pub(crate) full: String,
    /// Whether `/proc` counts processes as we do. That of another PID
    /// namespace does not: step 2 has the host's, for example.
    proc_is_ours: bool,
}

impl Name {
    /// The name for this process. See namespaces(7) about the number that
    /// identifies our PID namespace.
    pub(crate) fn of_this_process() -> anyhow::Result<Name> {
        let path = "/proc/self/ns/pid";
        let namespace = sys::stat(path)?;
        let stat = Stat::of_this_process()?;

        let prefix = format!("{PROJECT}.{}.", namespace.st_ino);
        let full = format!("{prefix}{}.{}", getpid(), stat.start_time);
        let proc_is_ours = stat.pid == getpid();
        Ok(Name {
            prefix,
            full,
            proc_is_ours,
        })
    }

    /// Removes the cgroups in `parent` that dead runs left behind.
    ///
    /// It takes only names of ours, from our PID namespace, whose process is
    /// gone: a run that is just starting never loses its directory. rmdir(2)
    /// leaves alone what still has processes.
    pub(crate) fn sweep(&self, parent: &Path) {
        let Ok(entries) = fs::read_dir(parent) else {
            return;
        };
        for entry in entries.flatten() {
            if !self.knows_for_dead(&entry.file_name()) {
                continue;
            }
            let path = entry.path();
            let Err(error) = sys::rmdir(&path) else {
                continue;
            };
            match error.errno {
                // Somebody is in there, somebody else was faster, or it is
                // somebody else's.
                Errno::EBUSY | Errno::ENOENT | Errno::EACCES | Errno::EPERM => {
                }
                _ => errors::warning(&error.into()),
            }
        }
    }

    /// Whether `name` is of a run that exists no more. In doubt it does.
    fn knows_for_dead(&self, name: &OsStr) -> bool {
        let rest = name.as_bytes().strip_prefix(self.prefix.as_bytes());
        let owner = rest.and_then(|rest| str::from_utf8(rest).ok());
        self.proc_is_ours
            && name != self.full.as_str()
            && owner.is_some_and(is_dead)
    }
}

/// Whether the process in the end of a name, `1234.567890`, runs no more.
fn is_dead(owner: &str) -> bool {
    let owner = owner.strip_suffix(LEAF).unwrap_or(owner);
    let Some((pid, start_time)) = owner.split_once('.') else {
        return false;
    };
    match (pid.parse(), start_time.parse()) {
        (Ok(pid), Ok(start_time)) => {
            Stat::is_gone(Pid::from_raw(pid), start_time)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_predecessor_is_dead() {
        let name = Name::of_this_process().expect("a name");
        let owner = name.full.strip_prefix(&name.prefix).expect("an owner");
        assert!(!is_dead(owner), "{owner}");
        assert!(!is_dead(&format!("{owner}{LEAF}")), "{owner}");
        assert!(is_dead(&format!("{owner}0")), "{owner}");
        assert!(is_dead("4194305.1"), "no process has such a number");
        assert!(!is_dead("nonsense"));
    }
}
