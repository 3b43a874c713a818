//! What is left when a monitor was killed, and who takes it away.

use std::{
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{
    Container, Place,
    lock::{Look, look},
    record::{self, CONFIG, STATE, State},
    remove::{discard, remove},
    restart::is_kept,
};

/// How long a container may take to end that was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long somebody may take from a name to the lock.
const UNFINISHED: Duration = Duration::from_secs(2);

/// Takes away what was left by monitors that were killed: their cgroups, and
/// the containers that nobody wanted to keep.
///
/// # Errors
/// Something can't be removed.
pub fn sweep(place: &Place) -> anyhow::Result<()> {
    for container in Container::all(place)? {
        let is_left = container.running().exists() || container.config.remove;
        let is_left = is_left && !is_kept(&container.lasting());
        if is_left && !container.is_alive()? {
            take_away(container)?;
        }
    }
    sweep_unfinished(place)
}

fn take_away(container: Container) -> anyhow::Result<()> {
    // Somebody may start it, or remove it, in this moment.
    let _lock = match look(&container.lasting())? {
        Look::Free(lock) => lock,
        Look::Taken | Look::Gone => return Ok(()),
    };
    if container.check_name_is_its_own().is_err() {
        return Ok(());
    }
    clear(&container.place, &container.config.id)?;
    match container.config.remove {
        true => {
            let config = &container.config;
            discard(&container.place, &config.name, &config.id)
        }
        false => Ok(()),
    }
}

/// Whoever has removed it was killed on the way.
fn is_discarded(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

/// Removes directories whose maker was killed before it had written down what
/// they are.
fn sweep_unfinished(place: &Place) -> anyhow::Result<()> {
    for entry in fs::read_dir(&place.containers)? {
        let path = entry?.path();
        if is_discarded(&path) {
            remove(&path)?;
            continue;
        }
        let age = fs::metadata(&path).and_then(|it| it.modified());
        let age = age.ok().and_then(|it| it.elapsed().ok());
        let is_old = age.is_some_and(|it| it > UNFINISHED);
        if is_old
            && !path.join(CONFIG).exists()
            && !matches!(look(&path)?, Look::Taken)
        {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes what is left of a run whose monitor is gone: it may have been
/// killed, and its container a moment later. The caller has the lock.
pub(crate) fn clear(place: &Place, id: &str) -> anyhow::Result<()> {
    let dir = place.running(id);
    if let Some(state) = record::read::<State>(&dir, STATE)? {
        let start = Instant::now();
        while !state.init.is_gone() {
            let pid = state.init.pid;
            ensure!(start.elapsed() < PATIENCE, "process {pid} does not end");
            sleep(Duration::from_millis(1));
        }
        for cgroup in state.cgroups.iter().filter(|it| it.exists()) {
            step04_cgroups::remove(cgroup);
        }
    }
    remove(&dir)
}
