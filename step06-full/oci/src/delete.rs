//! `delete`: removes what is left of a container.

use std::os::fd::AsFd;

use anyhow::{bail, ensure};
use common::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::{
    hooks, kill,
    runtime::Runtime,
    state::{Directory, State, Status},
};

/// How long a process may take to die, in milliseconds.
const PATIENCE: i32 = 10_000;

/// Removes the container `id`: one that has ended; with `force` any, and one
/// that there is not is no error.
pub(crate) fn delete(
    runtime: &Runtime,
    id: &str,
    force: bool,
) -> anyhow::Result<()> {
    let found = Directory::find(&runtime.root, id);
    let Ok(found) = found else {
        return if force { Ok(()) } else { found.map(drop) };
    };
    if force && let Ok(state) = found.load() {
        // A `create` that is at it fails then, and gives back its lock.
        stop(&state)?;
    }
    let Ok(directory) = Directory::lock(&runtime.root, id) else {
        ensure!(force, "container {id:?} does not exist");
        return Ok(());
    };
    let state = match directory.load() {
        // What a `create` has left that was killed before it could write.
        Err(_) if force => return directory.remove(),
        state => state?,
    };
    let status = directory.status(&state);
    if !force && status != Status::Stopped {
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
    stop(state)?;
    if let Some(place) = &state.cgroup {
        let cgroup = crate::cgroup::Cgroup::of(place)?;
        cgroup.kill_all(libc::SIGKILL)?;
        cgroup.remove()?;
    }
    directory.remove()?;
    let after = &state.config.hooks.after_stop;
    hooks::run_all(after, "poststop", state, Status::Stopped);
    Ok(())
}

/// Kills the container's process, and waits until it is gone.
pub(crate) fn stop(state: &State) -> anyhow::Result<()> {
    let Ok(process) = state.process() else {
        return Ok(());
    };
    // A process that is frozen does not die on version 1.
    if let Ok(cgroup) = state.cgroup()
        && cgroup.is_frozen()
    {
        kill::end(&process)?;
        cgroup.thaw()?;
    }
    kill::end(&process)?;
    let mut ends = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(PATIENCE)?;
    let ended = sys::poll(&mut ends, timeout)?;
    ensure!(ended != 0, "process {} does not end", state.pid);
    Ok(())
}
