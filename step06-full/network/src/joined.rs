//! The network of another container: two that are on the same machine, as it
//! were, and reach each other by 127.0.0.1. Kubernetes calls that a pod.

use std::os::fd::OwnedFd;

use anyhow::{Context, bail, ensure};
use common::{errors::Advice, process::Stat, sys};
use nix::{fcntl::OFlag, sched::CloneFlags, unistd::geteuid};
use step06_full::mount_api;

use crate::{
    addresses::{Directory, Process},
    names::{HOSTS, read_only},
    place::beside,
};

/// Enters the network namespace of the container that is called `name`, and
/// returns its `/etc/hosts` as a mount. The container to be is born there.
///
/// # Errors
/// There is none of that name on any network, or there are several; a plain user
/// may not enter.
pub(crate) fn enter(name: &str) -> anyhow::Result<OwnedFd> {
    ensure!(
        geteuid().is_root(),
        "only root can share the network of another container: a plain user's \
         containers have a user namespace each, and no right over the others"
    );
    let (cable, process) = find(name)?;
    let path = format!("/proc/{}/ns/net", process.0);
    let namespace = sys::open(path, OFlag::O_RDONLY, 0)?;
    // Opened first, compared second: from here on the number means nothing.
    let is_it = !Stat::is_gone(process.0, process.1);
    ensure!(is_it, "the container {name:?} has ended");
    let hosts = mount_api::copy(&beside(&format!("{HOSTS}{cable}"))?, 0)?;
    read_only(&hosts)?;
    sys::setns(namespace, CloneFlags::CLONE_NEWNET)
        .context("entering the network of another container")?;
    Ok(hosts)
}

/// Its first cable, and its process.
fn find(name: &str) -> anyhow::Result<(String, Process)> {
    let mut found: Vec<(String, Process)> = Vec::new();
    for network in Directory::all()? {
        for member in network.members() {
            let Some(process) = member
                .process
                .filter(|_| member.names().any(|it| it == name))
            else {
                continue;
            };
            // It may be on several networks.
            if found.iter().all(|(_, it)| *it != process) {
                let cable = format!("{}.{}", network.name(), member.number);
                found.push((cable, process));
            }
        }
    }
    match found.pop() {
        Some(one) if found.is_empty() => Ok(one),
        Some(_) => bail!("several containers are called {name:?}"),
        None => Err(anyhow::anyhow!("no container {name:?} is on a network"))
            .context(Advice::only("`box network` shows who is")),
    }
}
