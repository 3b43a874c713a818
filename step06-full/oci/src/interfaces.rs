//! `linux.netDevices`: interfaces of the host that are the container's from now
//! on. When its network namespace ends, the kernel gives those back that are
//! hardware, and removes the others: the runtime does neither.

use anyhow::{Context, ensure};
use common::sys;
use nix::{fcntl::OFlag, unistd::Pid};
use step06_network::moving;

use crate::{config::Linux, namespaces};

/// Looks at what can be judged outside.
pub(crate) fn check(linux: &Linux) -> anyhow::Result<()> {
    ensure!(
        linux.net_devices.is_empty() || linux.has_namespace("network"),
        "linux.netDevices needs a namespace network: it would be the host's"
    );
    Ok(())
}

/// Moves them all into the network namespace of the new process `pid`.
pub(crate) fn move_all(linux: &Linux, pid: Pid) -> anyhow::Result<()> {
    if linux.net_devices.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/{pid}/ns/net");
    let theirs = sys::open(path, OFlag::O_RDONLY, 0)?;
    let ours = namespaces::open_ours("net")?;
    ensure!(
        !namespaces::is_same(&ours, &theirs)?,
        "linux.netDevices: the container's network is that of the host"
    );
    let wanted = linux.net_devices.iter().map(|(name, interface)| {
        match interface.name.as_str() {
            "" => (name.as_str(), name.as_str()),
            new_name => (name.as_str(), new_name),
        }
    });
    let wanted: Vec<_> = wanted.collect();
    moving::move_all(&wanted, &theirs).context("linux.netDevices")
}
