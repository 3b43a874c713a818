//! The rows of the scoreboard, in the order of the steps that isolate them.

use nix::unistd::Pid;

use super::{Answer, Attempt, Host, Row};
use crate::process;

mod cgroups;
mod full;
mod mount;
mod overlay;
mod pid;
mod session;
mod uts;

/// All rows. A row's number is its place here.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    [
        uts::ROWS,
        session::ROWS,
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
    let child = process::fork(|| match attempt() {
        Ok(()) => process::exit(0),
        Err(_) => process::exit(1),
    });
    success_of(child.map_err(refused)?)
}

/// Waits for the end of `child`, which exits with 0 if its attempt worked.
fn success_of(child: Pid) -> Result<(), String> {
    match process::wait(child).map_err(refused)? {
        0 => Ok(()),
        code => Err(format!("exit code {code}")),
    }
}
