//! Where the networks of this machine are written down, and who may change them:
//! one at a time.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::Context;
use common::{errors::Advice, sys};
use libc::LOCK_EX;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::socket::{AddressFamily, SockType},
};

use crate::{addresses::Directory, forwarding::CHANGED};

/// Where the networks of this machine are, which are gone after a restart, as
/// the interfaces are.
pub(crate) const NETWORKS: &str = "/run/container-in-six-steps.networks";

/// A file above them, for all namespaces. No network can be called so.
const LOCK: &str = ".lock";

/// Waits until nobody else changes the networks of this machine, or looks for an
/// address. The lock is free again when it is dropped.
pub fn lock() -> anyhow::Result<OwnedFd> {
    match sys::mkdir(NETWORKS, 0o700) {
        Err(error) if error.errno == Errno::EEXIST => {}
        made => made
            .context(Advice::only(
                "networks take a directory in /run, which root can write to",
            ))
            .context("making a place for networks")?,
    }
    let path = Path::new(NETWORKS).join(LOCK);
    let file = sys::open(path, OFlag::O_CREAT | OFlag::O_RDWR, 0o600)?;
    sys::flock(&file, LOCK_EX)?;
    Ok(file)
}

/// The place of the networks in our network namespace.
///
/// Two namespaces may have the same `/run`, and a bridge `box0` each: the one is
/// not to be swept by the other. The number of a namespace is never given to
/// another one, as that of its inode is.
pub(crate) fn here() -> sys::Result<PathBuf> {
    let socket = sys::socket(AddressFamily::Unix, SockType::Datagram)?;
    let number = match sys::getsockopt_netns_cookie(socket) {
        // Before Linux 5.14: they have one place.
        Err(error) if error.errno == Errno::ENOPROTOOPT => 0,
        number => number?,
    };
    Ok(Path::new(NETWORKS).join(number.to_string()))
}

/// A place for a file of ours beside the networks.
pub(crate) fn beside(name: &str) -> sys::Result<PathBuf> {
    Ok(here()?.join(name))
}

/// Removes [`here`], if nothing is in it any more.
///
/// To be called with the [`lock`] held.
pub(crate) fn remove() -> sys::Result<()> {
    match sys::rmdir(here()?) {
        Err(error)
            if [Errno::ENOENT, Errno::ENOTEMPTY].contains(&error.errno) =>
        {
            Ok(())
        }
        removed => removed,
    }
}

/// Removes the places of other network namespaces in which nobody is: most of
/// them are of namespaces that are no more.
///
/// If one is still there, a command in it removes its bridge, which says by
/// itself whose it is. But a place that says what was changed stays: nobody else
/// would know. To be called with the [`lock`] held.
pub(crate) fn remove_deserted() -> anyhow::Result<()> {
    let here = here()?;
    for name in sys::readdir(NETWORKS)? {
        // Something else may be there: earlier versions had networks there.
        let is_place =
            name.to_str().is_some_and(|it| it.parse::<u64>().is_ok());
        let place = Path::new(NETWORKS).join(name);
        if is_place && place != here && place.is_dir() && is_deserted(&place)? {
            std::fs::remove_dir_all(&place)
                .with_context(|| format!("removing {place:?}"))?;
        }
    }
    Ok(())
}

fn is_deserted(place: &Path) -> sys::Result<bool> {
    for name in sys::readdir(place)? {
        if name.as_encoded_bytes().starts_with(CHANGED.as_bytes()) {
            return Ok(false);
        }
        let path = place.join(name);
        if path.is_dir() && !Directory(path).is_empty()? {
            return Ok(false);
        }
    }
    Ok(true)
}
