//! A container, seen by everybody but its monitor.

use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
};

use anyhow::{Context, ensure};
use common::{errors, sys};
use nix::libc;

use crate::{
    Namespaces, Place, boot,
    lock::{Look, lock, look},
    place::check_name,
    record::{self, CONFIG, Config, LAST, Last, STATE, State},
    remove::discard,
    server,
    status::Status,
    sweep::clear,
};

/// The exit code of what ran when the machine was switched off: nobody has seen
/// another one, and Docker says this.
const CODE_OF_A_REBOOT: u8 = 255;

/// A container that was made and not removed yet.
pub struct Container {
    /// What it is.
    pub config: Config,
    pub(crate) place: Place,
}

impl Container {
    /// All containers, in the order in which they were made.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn all(place: &Place) -> anyhow::Result<Vec<Container>> {
        let dir = &place.containers;
        let mut all = Vec::new();
        for entry in fs::read_dir(dir).with_context(|| format!("{dir:?}"))? {
            let name = entry?.file_name();
            let name = name.to_str().unwrap_or_default();
            if check_name(name).is_err() {
                continue;
            }
            match Container::open(place, name) {
                Ok(container) => all.extend(container),
                // That of others can be seen all the same.
                Err(error) => errors::warning(&error),
            }
        }
        all.sort_by_key(|it| it.config.created);
        Ok(all)
    }

    /// The container that is called `name`, or whose id begins so.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(place: &Place, name: &str) -> anyhow::Result<Container> {
        if check_name(name).is_ok()
            && let Some(container) = Container::open(place, name)?
        {
            return Ok(container);
        }
        let is_meant =
            |it: &Container| !name.is_empty() && it.config.id.starts_with(name);
        let all = Container::all(place)?.into_iter();
        let mut found: Vec<Container> = all.filter(is_meant).collect();
        ensure!(
            found.len() < 2,
            "several containers have an id with {name:?}"
        );
        let found = found.pop();
        found.with_context(|| {
            format!("No such container: {}", errors::escaped(name))
        })
    }

    /// `None` if there is none, or none yet.
    fn open(place: &Place, name: &str) -> anyhow::Result<Option<Container>> {
        let config = record::read(&place.lasting(name), CONFIG)?;
        let place = place.clone();
        Ok(config.map(|config| Container { config, place }))
    }

    /// What is true of it.
    ///
    /// # Errors
    /// It was removed, or what is known of it can't be read.
    pub fn status(&self) -> anyhow::Result<Status> {
        let last = || record::read::<Last>(&self.lasting(), LAST);
        // Asked before the file is read: what it says of an end is true then.
        let was_alive = self.is_alive()?;
        Ok(match (was_alive, last()?) {
            (true, last) => self.alive(last)?,
            (false, None) => {
                self.check_name_is_its_own()?;
                Status::Created
            }
            (
                false,
                Some(Last {
                    ended: Some((moment, code)),
                    ..
                }),
            ) => Status::Exited(moment, code),
            // Or it was started just now.
            (false, Some(last)) => match self.is_alive()? {
                true => self.alive(Some(last))?,
                false if boot::is_over(&last.boot) => {
                    Status::Exited(boot::began(), CODE_OF_A_REBOOT)
                }
                false => Status::Dead,
            },
        })
    }

    fn alive(&self, last: Option<Last>) -> anyhow::Result<Status> {
        let since = last.map(|it| it.started);
        Ok(match self.is_frozen()? {
            true => Status::Paused(since),
            false => Status::Running(since),
        })
    }

    /// Whether its monitor lives: it holds the lock, and the kernel lets go of
    /// it with the monitor's end.
    ///
    /// # Errors
    /// There is no lock.
    pub fn is_alive(&self) -> anyhow::Result<bool> {
        Ok(matches!(look(&self.lasting())?, Look::Taken))
    }

    /// What happens to it, if it is alive.
    ///
    /// # Errors
    /// It is not running.
    pub fn state(&self) -> anyhow::Result<State> {
        let state = match self.is_alive()? {
            true => record::read(&self.running(), STATE)?,
            false => None,
        };
        state.with_context(|| {
            format!("container {} is not running", self.config.name)
        })
    }

    /// Its namespaces, from its monitor.
    ///
    /// # Errors
    /// It is not running.
    pub fn namespaces(&self) -> anyhow::Result<Namespaces> {
        self.state()?;
        let (descriptors, _) = server::ask(&self.running(), "namespaces")?;
        Namespaces::from_list(descriptors)
    }

    /// Asks its monitor for something else: returns the descriptors that came
    /// with the answer, and the connection.
    ///
    /// # Errors
    /// It is not running, or the monitor refuses.
    pub fn ask(
        &self,
        request: &str,
    ) -> anyhow::Result<(Vec<OwnedFd>, UnixStream)> {
        self.state()?;
        server::ask(&self.running(), request)
    }

    /// The directories of its cgroup; it may have none.
    ///
    /// # Errors
    /// It is not running.
    pub fn cgroups(&self) -> anyhow::Result<Vec<PathBuf>> {
        Ok(self.state()?.cgroups)
    }

    /// The container's number 1, by a descriptor.
    ///
    /// # Errors
    /// It is not running.
    pub fn init(&self) -> anyhow::Result<OwnedFd> {
        let opened = self.state()?.init.open()?;
        opened.with_context(|| format!("{} has ended", self.config.name))
    }

    /// Sends `signal` to it.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&self, signal: libc::c_int) -> anyhow::Result<()> {
        Ok(sys::pidfd_send_signal(self.init()?, signal)?)
    }

    /// Removes it.
    ///
    /// # Errors
    /// It is alive.
    pub fn remove(self) -> anyhow::Result<()> {
        let name = &self.config.name;
        let _lock = lock(&self.lasting())?.with_context(|| {
            format!("container {name} is running: stop it, or rm --force")
        })?;
        self.check_name_is_its_own()?;
        clear(&self.place, &self.config.id)?;
        discard(&self.place, name, &self.config.id)
    }

    /// Whether somebody has removed it.
    pub fn is_gone(&self) -> bool {
        self.check_name_is_its_own().is_err()
    }

    /// To be called with its lock: until then somebody may have removed it, and
    /// made another one of this name.
    pub(crate) fn check_name_is_its_own(&self) -> anyhow::Result<()> {
        let now: Option<Config> = record::read(&self.lasting(), CONFIG)?;
        let is_it = now.is_some_and(|now| now.id == self.config.id);
        ensure!(is_it, "container {} is gone", self.config.name);
        Ok(())
    }

    pub(crate) fn lasting(&self) -> PathBuf {
        self.place.lasting(&self.config.name)
    }

    pub(crate) fn running(&self) -> PathBuf {
        self.place.running(&self.config.id)
    }
}
