//! The rows of the scoreboard, in the order of the steps that isolate them.

use super::{Answer, Attempt, Host, Row};

mod cgroups;
mod full;
mod mount;
mod overlay;
mod pid;
mod uts;

/// All rows. A row's number is its place here.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    [
        uts::ROWS,
        pid::ROWS,
        mount::ROWS,
        cgroups::ROWS,
        overlay::ROWS,
        full::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// For what everybody may do.
fn always(_: &Host) -> Result<(), String> {
    Ok(())
}

/// For attempts that work only if they reach the host.
fn if_it_worked(_: &Host, _: &Answer) -> bool {
    true
}

/// The error's name, for what was refused.
fn refused(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Tries `attempt` in a process of its own, which ends with it: for what can't
/// be undone.
fn in_a_child(
    attempt: impl FnOnce() -> anyhow::Result<()>,
) -> Result<(), String> {
    use crate::process;
    use nix::sys::wait::{WaitStatus, waitpid};

    let child = process::fork(|| match attempt() {
        Ok(()) => process::exit(0),
        Err(_) => process::exit(1),
    })
    .map_err(refused)?;
    match waitpid(child, None).map_err(refused)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        status => Err(format!("{status:?}")),
    }
}
