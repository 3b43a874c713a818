//! Owners of files that a mount shows differently: `uidMappings` and `gidMappings`
//! of a mount, `idmap` and `ridmap`. See mount_setattr(2), "ID-mapped mounts".

use std::os::fd::OwnedFd;

use anyhow::{Context, ensure};
use common::{
    NewProcess,
    process::{self, EndsWith},
    sys,
};
use nix::{fcntl::OFlag, sched::CloneFlags};
use step06_full::mount_api;

use super::Options;
use crate::{
    config::{Linux, Mapping, Mount},
    user_ids,
};

/// Maps the ids of what is bound, if that is asked for: by the tables of the
/// mount, or without any by those of the container.
pub(super) fn map(
    source: &OwnedFd,
    mount: &Mount,
    options: &Options,
    linux: &Linux,
) -> anyhow::Result<()> {
    let (users, groups) = (&mount.uid_mappings, &mount.gid_mappings);
    let own = !users.is_empty() || !groups.is_empty();
    let (users, groups, asked_for) = match (own, options.map_ids) {
        (true, asked_for) => (users, groups, asked_for.unwrap_or(0)),
        (false, Some(asked_for)) => {
            (&linux.uid_mappings, &linux.gid_mappings, asked_for)
        }
        (false, None) => return Ok(()),
    };
    ensure!(
        !users.is_empty() && !groups.is_empty(),
        "to map its ids takes uidMappings and gidMappings"
    );
    let namespace = namespace(users, groups)?;
    mount_api::map_ids_of(source, namespace, asked_for)
        .context("mapping its ids")
}

/// A user namespace with these tables, in which nobody is: it is there as long as
/// the descriptor.
fn namespace(users: &[Mapping], groups: &[Mapping]) -> anyhow::Result<OwnedFd> {
    let process = NewProcess {
        flags: CloneFlags::CLONE_NEWUSER,
        ends_with: EndsWith::Nobody,
        ..NewProcess::default()
    };
    let child = process.spawn(|| process::exit(0))?;
    user_ids::tables(child.pid(), users, groups)?;
    let path = format!("/proc/{}/ns/user", child.pid());
    let namespace = sys::open(path, OFlag::O_RDONLY, 0)?;
    child.start()?;
    child.wait()?;
    Ok(namespace)
}
