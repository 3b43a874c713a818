//! Removing what a container has left.

use std::{
    convert::Infallible, fs, io::ErrorKind, path::Path, process::ExitCode,
};

use anyhow::{Context, ensure};
use common::{NewProcess, host::trees::remove_tree, process, sys};
use nix::{errno::Errno, sched::CloneFlags};
use step05_overlay::OpenLayers;
use step06_full::user::{Ids, Options};

use crate::Place;

/// Removes what lasts of a container. Its name is free at once, and what is not
/// removed yet, when somebody kills us, is by whoever [sweeps](crate::sweep()).
pub(crate) fn discard(
    place: &Place,
    name: &str,
    id: &str,
) -> anyhow::Result<()> {
    let (old, new) = (place.lasting(name), place.discarded(id));
    match fs::rename(&old, &new) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        renamed => {
            renamed.with_context(|| format!("rename({old:?}, {new:?})"))?;
        }
    }
    remove(&new)
}

/// Removes a directory, if it is there.
pub(crate) fn remove(dir: &Path) -> anyhow::Result<()> {
    match remove_tree(dir) {
        Err(error) if error.errno == Errno::ENOENT => Ok(()),
        // A plain user's container may have more users, to whom files belong
        // that this one can't remove. Its root can.
        Err(error) if [Errno::EACCES, Errno::EPERM].contains(&error.errno) => {
            as_containers_root(dir)
        }
        removed => removed.map_err(Into::into),
    }
    .with_context(|| format!("removing {dir:?}"))
}

/// Removes it as the root of a user namespace like the container's.
fn as_containers_root(dir: &Path) -> anyhow::Result<()> {
    let options = Options {
        root_is_root_outside: true,
    };
    let mut layers = OpenLayers::default();
    let ids = Ids::choose(&options, &mut layers)?;
    let mut process = NewProcess::default();
    process.flags |= CloneFlags::CLONE_NEWUSER;
    let work = || -> anyhow::Result<Infallible> {
        ids.become_root()?;
        open_all(dir)?;
        match remove_tree(dir) {
            Err(error) if error.errno != Errno::ENOENT => Err(error.into()),
            _ => process::exit(0),
        }
    };
    let child = process.spawn(work)?;
    ids.map(child.pid(), &layers, &[])?;
    child.start()?;
    ensure!(child.wait()? == ExitCode::SUCCESS, "files are left in it");
    Ok(())
}

/// Gives the owner back every right over the directories: a directory that
/// nobody may write to keeps what is in it, and overlay leaves one of mode 0.
fn open_all(dir: &Path) -> anyhow::Result<()> {
    sys::chmod(dir, 0o700)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_all(&entry.path())?;
        }
    }
    Ok(())
}
