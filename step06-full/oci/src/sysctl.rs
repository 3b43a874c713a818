//! `linux.sysctl`: settings of the kernel, for the container only.
//!
//! Most of them have no namespace: they would be set for the whole machine. So
//! only those are taken that belong to one, and only if the container does not
//! share it with the runtime.

use std::{collections::BTreeMap, fs::File};

use anyhow::{Context, bail, ensure};
use common::host::files::write_kernel_file;

use crate::namespaces;

/// Settings that belong to the IPC namespace.
const IPC: &[&str] = &[
    "kernel/auto_msgmni",
    "kernel/msg_next_id",
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/sem_next_id",
    "kernel/shm_next_id",
    "kernel/shm_rmid_forced",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
];

/// The namespaces of the runtime that must not be the container's.
pub(crate) struct Ours([(&'static str, File); 3]);

impl Ours {
    /// To be called in the runtime.
    pub(crate) fn open() -> anyhow::Result<Ours> {
        let open = |name| anyhow::Ok((name, namespaces::open_ours(name)?));
        Ok(Ours([open("net")?, open("ipc")?, open("uts")?]))
    }

    /// Writes them, by the host's `/proc`: the kernel takes them for those of
    /// the namespaces of who writes, and no image has a say in that path.
    pub(crate) fn set(
        &self,
        settings: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        for (name, value) in settings {
            self.set_one(name, value)
                .with_context(|| format!("setting the sysctl {name}"))?;
        }
        Ok(())
    }

    fn set_one(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let path = path_of(name)?;
        let namespace = namespace_of(&path)?;
        self.check_own(namespace)?;
        Ok(write_kernel_file(format!("/proc/sys/{path}"), value)?)
    }

    /// Checks that what is set in `namespace` is set for the container: one that
    /// it enters by a path may be the host's.
    pub(crate) fn check_own(&self, namespace: &str) -> anyhow::Result<()> {
        let (_, ours) = self
            .0
            .iter()
            .find(|(name, _)| *name == namespace)
            .context("there is no such namespace")?;
        ensure!(
            namespaces::differs(namespace, ours)?,
            "it would be that of the host: the container has no {namespace} \
             namespace of its own"
        );
        Ok(())
    }
}

/// The path below `/proc/sys`. In a name with `.` between its parts a `/` stands
/// for a `.`, and the other way round: see sysctl(8).
fn path_of(name: &str) -> anyhow::Result<String> {
    let dots = name.find('.').unwrap_or(usize::MAX);
    let slashes = name.find('/').unwrap_or(usize::MAX);
    let path: String = match dots < slashes {
        true => name
            .chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                letter => letter,
            })
            .collect(),
        false => name.to_owned(),
    };
    let is_good = |part: &str| !["", ".", ".."].contains(&part);
    ensure!(path.split('/').all(is_good), "it is no name");
    Ok(path)
}

fn namespace_of(path: &str) -> anyhow::Result<&'static str> {
    if path.starts_with("net/") {
        return Ok("net");
    }
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return Ok("ipc");
    }
    match path {
        "kernel/domainname" => Ok("uts"),
        "kernel/hostname" => bail!("say it by hostname"),
        _ => bail!("it has no namespace, and would be set for the machine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_below_proc_sys() {
        let path = |name| path_of(name).ok();
        let forward = Some("net/ipv4/ip_forward".to_owned());
        assert_eq!(path("net.ipv4.ip_forward"), forward);
        assert_eq!(path("net/ipv4/ip_forward"), forward);
        let interface = Some("net/ipv4/conf/eth0.1/forwarding".to_owned());
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding"), interface);
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding"), interface);
        for name in ["", "net..x", "net/../kernel/x", "/net/x", "net."] {
            assert_eq!(path(name), None, "{name}");
        }
    }

    #[test]
    fn what_has_no_namespace_is_refused() {
        for path in ["kernel/panic", "vm/swappiness", "kernel/hostname", "netx"]
        {
            namespace_of(path).expect_err(path);
        }
        assert_eq!(namespace_of("kernel/shmmax").ok(), Some("ipc"));
        assert_eq!(namespace_of("fs/mqueue/msg_max").ok(), Some("ipc"));
    }
}
