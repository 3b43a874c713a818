//! `delete`: removes what is left of a container.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::bail;
use common::{errors, sys};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags},
};

use crate::{
    cgroup::Cgroup,
    hooks, kill, log,
    runtime::Runtime,
    state::{Directory, State, Status},
};

/// How long a process may take to die.
const PATIENCE: Duration = Duration::from_secs(10);

/// After how many milliseconds it is killed again.
const AGAIN: u8 = 50;

/// Removes the container `id`: one that has ended, or was not started; with
/// `force` any, and one that there is not is no error.
pub(crate) fn delete(
    runtime: &Runtime,
    id: &str,
    force: bool,
) -> anyhow::Result<()> {
    if force && Directory::is_absent(&runtime.root, id) {
        return Ok(());
    }
    let found = Directory::find(&runtime.root, id)?;
    if force && let Ok(state) = found.load() {
        // A `create` that is at it fails then, and gives back its lock.
        stop(&state)?;
    }
    let directory = match Directory::lock(&runtime.root, id) {
        // Somebody else has removed it meanwhile.
        Err(_) if force && Directory::is_absent(&runtime.root, id) => {
            return Ok(());
        }
        locked => locked?,
    };
    let state = match directory.load() {
        // What a `create` has left that was killed before it could write.
        Err(_) if force => return directory.remove(),
        state => state?,
    };
    let status = directory.status(&state);
    // The specification wants only what has ended to be removed. But runc, crun
    // and youki remove what was not started, too: nothing of it has run.
    let runs = !matches!(status, Status::Created | Status::Stopped);
    if !force && runs {
        bail!(
            "cannot delete container {id:?} that is not stopped: it is {}",
            status.name()
        );
    }
    remove(directory, &state)
}

/// Ends the container and removes what is left of it, and lets its hooks know.
pub(crate) fn remove(
    directory: Directory,
    state: &State,
) -> anyhow::Result<()> {
    stop_all(state)?;
    if let Some(place) = &state.cgroup {
        let has_nothing_left = state.has_nothing_left()?;
        match Cgroup::of(place)?.remove() {
            Err(error) if has_nothing_left && is_in_use(&error) => {
                let why = "processes of somebody else are in the cgroup, \
                           which stays";
                log::warning(&error.context(why));
            }
            removed => removed?,
        }
    }
    directory.remove()?;
    let after = &state.config.hooks.after_stop;
    hooks::run_all(after, "poststop", state, Status::Stopped);
    Ok(())
}

/// Whether a cgroup has processes. That somebody else has its lock (`EAGAIN`) is
/// no reason to say that all is removed: it can be tried again.
fn is_in_use(error: &anyhow::Error) -> bool {
    errors::errno(error) == Some(Errno::EBUSY)
}

/// Ends the container, and what its process has left in its cgroup: in a PID
/// namespace that it shares with others, its children live on.
pub(crate) fn stop_all(state: &State) -> anyhow::Result<()> {
    stop(state)?;
    match &state.cgroup {
        Some(place) if !state.has_nothing_left()? => {
            Cgroup::of(place)?.kill_all(libc::SIGKILL)
        }
        _ => Ok(()),
    }
}

/// Kills the container's process, and waits until it is gone.
fn stop(state: &State) -> anyhow::Result<()> {
    let Some(process) = state.first()? else {
        return Ok(());
    };
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        kill::end(&process, state)?;
        let mut ends = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        if sys::poll(&mut ends, AGAIN.into())? != 0 {
            return Ok(());
        }
        // A `pause` may be at it, which stops what was let go.
    }
    bail!("process {} does not end", state.pid)
}
