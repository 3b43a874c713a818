//! Names: `/etc/hosts`, in which those on the same network are, and
//! `/etc/resolv.conf`, in which is whom to ask for all others.
//!
//! The first changes whenever a container comes or goes. It is a file of the
//! host's, mounted in the container for reading, that the `keeper` of the
//! container writes anew. See hosts(5), resolv.conf(5).

use std::{
    fs::{self, File},
    io::{Seek, Write},
    net::IpAddr,
    os::fd::OwnedFd,
    path::PathBuf,
};

use anyhow::Context;
use common::sys;
use nix::{errno::Errno, fcntl::OFlag};
use step06_full::mount_api;

use crate::{addresses::Directory, place::beside, veth::Cable};

/// A container's `/etc/hosts`.
pub struct Hosts {
    file: File,
    /// The file as a mount that is attached nowhere yet.
    pub(crate) mount: OwnedFd,
    /// The container's own.
    names: String,
}

impl Hosts {
    /// Makes the file for the container with these `names`, whose first cable is
    /// `cable`, until [`remove`].
    pub fn new(names: &str, cable: &Cable) -> anyhow::Result<Hosts> {
        // There may be one of a container that was killed.
        remove(cable)?;
        let path = path(cable)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
        let file = sys::open(&path, flags, 0o644)?;
        sys::fchmod(&file, 0o644)?;
        let mount = mount_api::copy(&path, 0)?;
        read_only(&mount)?;
        let (file, names) = (file.into(), names.into());
        Ok(Hosts { file, mount, names })
    }

    /// Writes who is there now.
    pub fn write(&self, cables: &[Cable]) -> anyhow::Result<()> {
        let mut text = String::from(
            "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n",
        );
        for cable in cables {
            let own = (cable.number, self.names.clone());
            let members = Directory::open(&cable.bridge)?.members();
            // The own name comes first: it counts, if others have the same.
            let members = members.into_iter();
            let others = members.map(|it| (it.number, it.names));
            let others = others.filter(|it| it.0 != cable.number);
            for (number, name) in [own].into_iter().chain(others) {
                for address in cable.subnet.addresses(number) {
                    text += &line(address.ip, &name);
                }
            }
        }
        let mut file = &self.file;
        let written = file
            .rewind()
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.set_len(text.len() as u64));
        written.context("writing the container's /etc/hosts")
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// What the container wrote would be in the host's memory, without end.
pub(crate) fn read_only(mount: &OwnedFd) -> sys::Result<()> {
    let attributes = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    mount_api::add_attributes(mount, 0, attributes)
}

fn path(cable: &Cable) -> sys::Result<PathBuf> {
    beside(&format!("{HOSTS}{}", cable.outside()))
}

/// How the files begin.
pub(crate) const HOSTS: &str = "hosts.";

/// Removes the file, if it is there.
pub fn remove(cable: &Cable) -> sys::Result<()> {
    match sys::unlink(path(cable)?) {
        Err(error) if error.errno == Errno::ENOENT => Ok(()),
        removed => removed,
    }
}

/// What each machine calls itself.
const OWN: [&str; 3] = ["localhost", "ip6-localhost", "ip6-loopback"];

/// A line for these `names`, without those that would be no name there.
fn line(ip: IpAddr, names: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-._".contains(it);
    // What a program says to its own machine is not for a neighbour.
    let is_own = |it: &str| OWN.iter().any(|own| own.eq_ignore_ascii_case(it));
    let names = names.split_whitespace();
    let names = names.filter(|it| it.chars().all(is_plain) && !is_own(it));
    let names: Vec<&str> = names.collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("{ip}\t{}\n", names.join(" ")),
    }
}

/// Where the host's resolvers are; the second one has those of systemd-resolved
/// themselves, where the first one has only its address on the loopback
/// interface, which is the host's. See systemd-resolved.service(8).
const RESOLVERS: [&str; 2] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// The text of the container's `/etc/resolv.conf`: the host's, without servers
/// that only the host can reach; nothing if none is left.
pub fn resolvers() -> Option<String> {
    let texts = RESOLVERS.iter().filter_map(|it| fs::read(it).ok());
    let mut texts =
        texts.filter_map(|it| reachable(&String::from_utf8_lossy(&it)));
    texts.next()
}

fn reachable(text: &str) -> Option<String> {
    let is_server = |line: &str| line.trim_start().starts_with("nameserver");
    let is_local = |line: &str| {
        let ip = line.split_whitespace().nth(1).unwrap_or_default();
        // fe80::1%eth0 is an address of an interface that the container lacks.
        let ip = ip.parse::<IpAddr>();
        !ip.is_ok_and(|it| !it.is_loopback() && !it.is_unspecified())
    };
    let lines = text.lines();
    let lines = lines.filter(|line| !is_server(line) || !is_local(line));
    let lines: Vec<&str> = lines.collect();
    let any = lines.iter().any(|line| is_server(line));
    any.then(|| lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_only_the_host_reaches_is_left_out() {
        let text = "# by hand\nnameserver 127.0.0.53\nsearch lan\n";
        assert_eq!(reachable(text), None);
        let text = "nameserver ::1\nnameserver fe80::1%eth0\n\
                    nameserver 192.0.2.1\nsearch lan\n";
        let kept = "nameserver 192.0.2.1\nsearch lan\n";
        assert_eq!(reachable(text).as_deref(), Some(kept));
    }

    #[test]
    fn a_name_can_add_no_line() {
        let ip = IpAddr::from([10, 88, 77, 2]);
        assert_eq!(line(ip, "db"), "10.88.77.2\tdb\n");
        assert_eq!(line(ip, "db data"), "10.88.77.2\tdb data\n");
        for name in ["", "#", "é", "\t", "LocalHost"] {
            assert_eq!(line(ip, name), "", "{name:?}");
        }
    }
}
