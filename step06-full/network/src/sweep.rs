//! What is left of networks that nobody is in: whoever comes or goes next
//! removes it, or whoever is told to.

use std::{thread, time::Duration};

use common::{errors, sys};
use nix::errno::Errno;

use crate::{
    addresses::Directory,
    bridge::Bridge,
    forwarding, names,
    netlink::Netlink,
    place::{self, here, lock},
    tables,
    veth::Cable,
};

/// What was removed, and whether that was all.
#[derive(Debug, Default)]
pub struct Swept {
    /// The names of the networks that are gone.
    pub gone: Vec<String>,
    /// Something could not be removed. It was told what, and why.
    pub failed: bool,
}

/// Removes what is left of networks that nobody is in, where all who should have
/// done it were killed. What fails is told, and the rest is done.
///
/// # Errors
/// `EACCES` for who is not root.
pub fn prune() -> anyhow::Result<Swept> {
    let is_missing = |error: sys::Error| error.errno == Errno::ENOENT;
    // A bridge may be there without a place: see [`place::remove_deserted`].
    if sys::stat(here()?).is_err_and(is_missing) && Bridge::all()?.is_empty() {
        return Ok(Swept::default());
    }
    let _lock = lock()?;
    Ok(sweep())
}

/// Removes the networks that nobody is in, and puts back what was changed for
/// them, if nobody is in any.
///
/// To be called with the [`lock`] held.
pub(crate) fn sweep() -> Swept {
    let mut swept = Swept::default();
    let all = match Directory::all() {
        Ok(all) => all,
        Err(error) => {
            swept.note(Err(error.into()));
            return swept;
        }
    };
    let known: Vec<_> = all.iter().map(|it| it.name().to_owned()).collect();
    let (dead, live): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|it| swept.is_dead(it));
    for directory in dead {
        await_end_of_cables(directory.name());
        let removed = remove_bridge(directory.name());
        let is_gone = matches!(removed, Ok(true));
        if swept.note(removed.and_then(|_| directory.remove())) && is_gone {
            swept.gone.push(directory.name().to_owned());
        }
    }
    // Before there is a bridge, there is its directory. But it may be in the
    // /run of another mount namespace, and then there are cables.
    let bridges = Bridge::all().unwrap_or_else(|error| {
        swept.note(Err(error.into()));
        Vec::new()
    });
    for name in bridges.into_iter().filter(|it| !known.contains(it)) {
        let removed = remove_bridge(&name);
        let is_gone = matches!(removed, Ok(true));
        if swept.note(removed.map(drop)) && is_gone {
            swept.gone.push(name);
        }
    }
    if live.is_empty() {
        swept.note(forwarding::put_back());
        swept.note(remove_files_of_the_killed());
        swept.note(place::remove().map_err(anyhow::Error::from));
    }
    swept.note(place::remove_deserted());
    swept
}

impl Swept {
    /// Tells what has failed. Returns whether nothing has.
    fn note(&mut self, done: anyhow::Result<()>) -> bool {
        let is_done = done.is_ok();
        self.failed |= !is_done;
        tell(done);
        is_done
    }

    /// Whether nobody is in it. Of which that can't be known, that is
    /// somebody's.
    fn is_dead(&mut self, directory: &Directory) -> bool {
        let is_empty = directory.is_empty();
        let known = is_empty.as_ref().copied().unwrap_or(false);
        self.note(is_empty.map(drop).map_err(anyhow::Error::from));
        known
    }
}

/// Says what has failed while something else was done.
pub(crate) fn tell(done: anyhow::Result<()>) {
    if let Err(error) = done {
        let error = error.context("cleaning up a network");
        errors::warning(&error);
    }
}

/// Removes what a container had: cables, addresses, and with the last one of a
/// network its bridge. What fails is told, and the rest is done.
pub(crate) fn leave(cables: &[Cable]) {
    let lock = lock();
    for cable in cables {
        let gone = cable.pull_out().map_err(anyhow::Error::from);
        let gone = gone.and_then(|()| {
            Ok(Directory::open(&cable.bridge)?.give_back(cable.number)?)
        });
        tell(gone);
        tell(names::remove(cable).map_err(anyhow::Error::from));
    }
    match lock {
        Ok(_) => {
            drop(sweep());
            // Who is left may be one that had no rules.
            if !tables::stand_besides(cables) {
                tell(forwarding::put_back());
            }
        }
        Err(error) => tell(Err(error)),
    }
}

/// The kernel removes the cables of who was killed, a little later.
fn await_end_of_cables(name: &str) {
    for _ in 0..50 {
        if !Bridge::has_cables(name).unwrap_or(false) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Removes a bridge of ours, unless a cable leads to it. Returns whether it is
/// gone.
fn remove_bridge(name: &str) -> anyhow::Result<bool> {
    if !Bridge::is_there(name)? {
        return Ok(true);
    }
    if Bridge::has_cables(name)? {
        return Ok(false);
    }
    Netlink::open()?.delete(name)?;
    Ok(true)
}

fn remove_files_of_the_killed() -> anyhow::Result<()> {
    let here = here()?;
    for name in sys::readdir(&here).unwrap_or_default() {
        if name.to_str().is_some_and(|it| it.starts_with(names::HOSTS)) {
            sys::unlink(here.join(name))?;
        }
    }
    Ok(())
}
