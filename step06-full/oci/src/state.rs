//! What is known of a container, and where it is kept: a directory for each,
//! below `--root`.
//!
//! `state.json` is written beside and renamed, so whoever reads it reads all of
//! it. Who changes something holds a lock on the directory, which the kernel
//! drops when the holder is gone, however it ends. Reading takes no lock: a hook
//! may ask for the state while `create` runs it.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use common::{process::Stat, sys};
use nix::{errno::Errno, unistd::Pid};
use serde::{Deserialize, Serialize};

use crate::{
    cgroup::{Cgroup, Place},
    config::{Config, VERSION},
};

mod place;

use place::{check_id, is_free, lock};
pub(crate) use place::{default_root, make_root};

/// What `state.json` holds.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct State {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    /// The container's process, and when it was started: both together mean
    /// one process for ever. 0 as long as there is none.
    pub(crate) pid: i32,
    pub(crate) start_time: u64,
    /// `create` has come to its end.
    pub(crate) is_made: bool,
    pub(crate) systemd: bool,
    pub(crate) cgroup: Option<Place>,
    pub(crate) config: Config,
}

/// What becomes of a container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The directory of one container.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// Held as long as this is open.
    _lock: Option<OwnedFd>,
}

impl Directory {
    /// Makes one for a new container, and locks it.
    pub(crate) fn create(root: &Path, id: &str) -> anyhow::Result<Directory> {
        check_id(id)?;
        make_root(root)?;
        let path = root.join(id);
        match sys::mkdir(&path, 0o700) {
            // The wording that callers look for.
            Err(error) if error.errno == Errno::EEXIST => {
                bail!("container with id {id} already exists")
            }
            made => made?,
        }
        let lock = lock(&path)?;
        ensure!(lock.is_some(), "{path:?} was taken away");
        Ok(Directory { path, _lock: lock })
    }

    /// Finds that of a container which there is, without a lock.
    pub(crate) fn find(root: &Path, id: &str) -> anyhow::Result<Directory> {
        check_id(id)?;
        let path = root.join(id);
        match fs::symlink_metadata(&path) {
            Ok(file) if file.is_dir() => Ok(Directory { path, _lock: None }),
            _ => bail!("container {id:?} does not exist"),
        }
    }

    /// Whether there is no container of that name: not when it can't be found
    /// out, or when somebody else is at work on it.
    pub(crate) fn is_absent(root: &Path, id: &str) -> bool {
        let there = sys::lstat(root.join(id));
        let absent = [Errno::ENOENT, Errno::ENOTDIR];
        check_id(id).is_ok()
            && there.is_err_and(|error| absent.contains(&error.errno))
    }

    /// Those of all containers, in the order of their names.
    pub(crate) fn all(root: &Path) -> anyhow::Result<Vec<Directory>> {
        let mut names = match sys::readdir(root) {
            Err(error) if error.errno == Errno::ENOENT => Vec::new(),
            names => names?,
        };
        names.sort();
        let names = names.iter().filter_map(|name| name.to_str());
        // What has another name than a container's is not ours.
        let found = names.map(|name| Directory::find(root, name));
        Ok(found.flatten().collect())
    }

    /// The same, locked.
    pub(crate) fn lock(root: &Path, id: &str) -> anyhow::Result<Directory> {
        let found = Directory::find(root, id)?;
        match lock(&found.path)? {
            Some(lock) => Ok(Directory {
                _lock: Some(lock),
                ..found
            }),
            None => bail!("container {id:?} does not exist"),
        }
    }

    /// Reads `state.json`.
    pub(crate) fn load(&self) -> anyhow::Result<State> {
        let path = self.path.join("state.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let id = self.path.file_name().unwrap_or_default();
                bail!("container {id:?} does not exist")
            }
            read => read.with_context(|| format!("reading {path:?}"))?,
        };
        serde_json::from_slice(&text).with_context(|| format!("{path:?}"))
    }

    /// Writes `state.json`.
    pub(crate) fn save(&self, state: &State) -> anyhow::Result<()> {
        let new = self.path.join("state.new");
        let text = serde_json::to_vec(state)?;
        fs::write(&new, text).with_context(|| format!("writing {new:?}"))?;
        Ok(sys::rename(&new, self.path.join("state.json"))?)
    }

    /// The socket at which the container's process waits to be started.
    pub(crate) fn gate(&self) -> PathBuf {
        self.path.join("start.sock")
    }

    /// What becomes of the container.
    pub(crate) fn status(&self, state: &State) -> Status {
        if !state.is_alive() {
            return match state.is_made || is_free(&self.path) {
                true => Status::Stopped,
                false => Status::Creating,
            };
        }
        if !state.is_made {
            return Status::Creating;
        }
        // Also before its start: it would not hear that it may begin.
        if state.cgroup().is_ok_and(|cgroup| cgroup.is_frozen()) {
            return Status::Paused;
        }
        match self.gate().exists() {
            true => Status::Created,
            false => Status::Running,
        }
    }

    /// Removes the directory with all that is in it.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        let path = &self.path;
        fs::remove_dir_all(path).with_context(|| format!("removing {path:?}"))
    }
}

impl State {
    /// In doubt it is.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.first(), Ok(None))
    }

    /// The container's process, as something that no other process can become.
    pub(crate) fn process(&self) -> anyhow::Result<OwnedFd> {
        // The wording that callers look for.
        self.first()?.context("container not running")
    }

    /// The same; `None` if it has ended, with all of its threads.
    pub(crate) fn first(&self) -> anyhow::Result<Option<OwnedFd>> {
        match self.pid {
            1.. => Ok(Stat::open(Pid::from_raw(self.pid), self.start_time)?),
            _ => Ok(None),
        }
    }

    /// Whether nothing of it can run any more: a PID namespace ends with its
    /// number 1, and all who are in it. See pid_namespaces(7). Who is in its
    /// cgroup then is somebody else.
    pub(crate) fn has_nothing_left(&self) -> anyhow::Result<bool> {
        let own = self.config.linux.makes_namespace("pid");
        // Who has no number yet ends when `create` does.
        Ok((own || self.pid <= 0) && self.first()?.is_none())
    }

    pub(crate) fn cgroup(&self) -> anyhow::Result<Cgroup> {
        let place = self.cgroup.as_ref();
        Cgroup::of(place.context("the container has no cgroup yet")?)
    }

    /// The state as the specification has it: what `state` prints and what
    /// hooks get.
    pub(crate) fn json(&self, status: Status) -> serde_json::Value {
        let mut json = serde_json::json!({
            "ociVersion": VERSION,
            "id": self.id,
            "status": status.name(),
            "bundle": self.bundle,
        });
        // A process that is gone has no number.
        if status != Status::Stopped && self.pid > 0 {
            json["pid"] = self.pid.into();
        }
        if !self.config.annotations.is_empty() {
            json["annotations"] = serde_json::json!(self.config.annotations);
        }
        json
    }
}
