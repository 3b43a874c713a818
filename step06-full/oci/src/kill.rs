//! `kill`: sends a signal to a container.

use std::os::fd::OwnedFd;

use anyhow::{Context, bail, ensure};
use common::sys;
use nix::{errno::Errno, sys::signal::Signal};

use crate::{
    runtime::Runtime,
    state::{Directory, State, Status},
};

/// Sends `signal` to the process of the container `id`, or to `all` of it.
pub(crate) fn kill(
    runtime: &Runtime,
    id: &str,
    signal: &str,
    all: bool,
) -> anyhow::Result<()> {
    let signal = number(signal)?;
    let directory = Directory::find(&runtime.root, id)?;
    let state = directory.load()?;
    if all {
        // Also when the first process is gone: in a PID namespace that it shares
        // with others, its children live on.
        if state.has_nothing_left()? {
            return Ok(());
        }
        return state.cgroup()?.kill_all(signal);
    }
    let status = directory.status(&state);
    ensure!(status != Status::Stopped, "container not running");
    let process = state.process()?;
    match signal {
        libc::SIGKILL => end(&process, &state),
        signal => Ok(sys::pidfd_send_signal(process, signal)?),
    }
}

/// A number, or a name with or without `SIG`.
fn number(signal: &str) -> anyhow::Result<libc::c_int> {
    if let Ok(number) = signal.parse() {
        ensure!((0..=64).contains(&number), "there is no signal {number}");
        return Ok(number);
    }
    let name = signal.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(number) = real_time(name) {
        return Ok(number);
    }
    match format!("SIG{name}").parse::<Signal>() {
        Ok(signal) => Ok(signal as libc::c_int),
        Err(_) => bail!("there is no signal {signal:?}"),
    }
}

/// `RTMIN+3`, `RTMAX-1`: those that have no names of their own.
fn real_time(name: &str) -> Option<libc::c_int> {
    let number = |text: &str| match text {
        "" => Some(0),
        text => text.get(1..)?.parse::<libc::c_int>().ok(),
    };
    let (first, last) = (34, 64);
    let number = match name.strip_prefix("RTMIN") {
        Some(rest) => first + number(rest)?,
        None => last - number(name.strip_prefix("RTMAX")?)?,
    };
    (first..=last).contains(&number).then_some(number)
}

/// Sends the signal that nobody can ignore. But who is stopped by version 1 of
/// cgroups, or on the way there, does not die before it may go on.
pub(crate) fn end(process: &OwnedFd, state: &State) -> anyhow::Result<()> {
    match sys::pidfd_send_signal(process, libc::SIGKILL) {
        // It has just ended.
        Err(error) if error.errno == Errno::ESRCH => {}
        sent => sent.context("killing the container")?,
    }
    match state.cgroup() {
        Ok(cgroup) if cgroup.is_frozen() => cgroup.thaw(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_number_or_a_name() {
        for text in ["9", "KILL", "SIGKILL", "kill", "sigkill"] {
            assert_eq!(number(text).ok(), Some(9), "{text}");
        }
        assert_eq!(number("RTMIN+3").ok(), Some(37));
        assert_eq!(number("SIGRTMAX").ok(), Some(64));
        for text in ["", "65", "-1", "NOSUCH", "RTMIN+99"] {
            number(text).expect_err(text);
        }
    }
}
