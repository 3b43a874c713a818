//! Whose the cgroup is.
//!
//! A container that has a user namespace and a cgroup namespace of its own may
//! manage what is below its cgroup, as systemd does, if its user outside owns the
//! directory and a few of the files. Not those with the limits. The rules are the
//! specification's: "Cgroup ownership" in config-linux.md.

use std::path::Path;

use anyhow::Context;
use common::{host::files::read_kernel_file, sys};
use nix::{
    errno::Errno,
    unistd::{Uid, geteuid},
};

use super::Cgroup;
use crate::config::Config;

/// The files that belong to whom a cgroup is delegated to, since Linux 4.15.
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";

impl Cgroup {
    /// Gives the cgroup to the container's user, where that is safe and asked
    /// for: on version 2, by who writes to `/sys/fs/cgroup`.
    pub(crate) fn delegate(&self, config: &Config) -> anyhow::Result<()> {
        let Some(directory) = self.unified() else {
            return Ok(());
        };
        match owner(config) {
            Some(uid) if geteuid().is_root() => {
                give(directory, uid).context("giving its cgroup to it")
            }
            _ => Ok(()),
        }
    }
}

/// The user outside that is `process.user.uid` inside, if the container is to
/// have the cgroup.
fn owner(config: &Config) -> Option<Uid> {
    let linux = &config.linux;
    let is_shown = config.mounts.iter().any(|mount| {
        mount.kind.starts_with("cgroup")
            && !mount.options.iter().any(|it| it == "ro")
    });
    if !is_shown || !linux.makes_namespace("cgroup") {
        return None;
    }
    let uid = config.process.as_ref()?.user.uid;
    linux.uid_mappings.iter().find_map(|mapping| {
        let offset = uid.checked_sub(mapping.container)?;
        let is_in = offset < mapping.size;
        let host = mapping.host.checked_add(offset)?;
        is_in.then(|| Uid::from_raw(host))
    })
}

fn give(directory: &Path, owner: Uid) -> anyhow::Result<()> {
    sys::chown(directory, Some(owner), None)?;
    let files = read_kernel_file(DELEGATE)?;
    for file in String::from_utf8_lossy(&files).lines() {
        match sys::chown(directory.join(file), Some(owner), None) {
            // That of a controller which is not enabled.
            Err(error) if error.errno == Errno::ENOENT => {}
            given => given?,
        }
    }
    Ok(())
}
