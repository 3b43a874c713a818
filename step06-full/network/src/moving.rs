//! Moving an interface that there is into another network namespace, as
//! `ip link set NAME netns NAMESPACE` does, with what it has.
//!
//! An interface is in one namespace only. In another one it is the same, with
//! the same hardware address and size of packets, but it is turned off, and has
//! lost its addresses: they are the namespace's. So they are looked up before,
//! and given to it again. Its routes are not: where they lead to is not there.
//! See network_namespaces(7).

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, ensure};
use common::sys;
use libc::{
    IFA_ADDRESS, IFA_BROADCAST, IFA_F_PERMANENT, IFA_FLAGS, IFA_LOCAL,
    IFLA_IFNAME, IFLA_NET_NS_FD, RTM_GETADDR, RTM_GETLINK, RTM_NEWADDR,
    RTM_NEWLINK,
};
use nix::{errno::Errno, fcntl::OFlag, sched::CloneFlags};

use crate::netlink::{NEW, Netlink, Request, attributes, link, number};

/// An interface: its number and its name.
type Link = (u32, String);

/// Moves the interface `name` of our network namespace into `namespace`, where
/// it is called `new_name`, and turns it on. If a `%d` is in that, it becomes the
/// first number that makes a name which is free.
///
/// # Errors
/// There is no such interface, or the name is taken; then nothing has happened.
/// `EPERM` without CAP_NET_ADMIN in both; `EINVAL` for one that can't be moved,
/// such as `lo`.
pub fn move_into(
    name: &str,
    namespace: impl AsFd,
    new_name: &str,
) -> anyhow::Result<()> {
    let here = Netlink::open()?;
    let there = open_in(&namespace)?;
    let links = here.links()?;
    let found = links.iter().find(|(_, it)| it == name);
    let (index, _) = found.context("there is no such interface")?;
    let addresses = here.addresses_of(*index)?;
    let new_name = &free_name(new_name, &there.links()?)?;

    let fd = namespace.as_fd().as_raw_fd();
    let text = format!("RTM_NEWLINK({name:?}, {new_name:?}, namespace {fd})");
    let request = Request::new(RTM_NEWLINK, 0, &link(*index, 0), text)
        .attribute(IFLA_NET_NS_FD, &fd.to_ne_bytes())
        .string(IFLA_IFNAME, new_name);
    here.ask(request)?;

    // The number may be another one there.
    let links = there.links()?;
    let found = links.iter().find(|(_, it)| it == new_name);
    let (index, _) = found.context("it has got another name meanwhile")?;
    for address in &addresses {
        there.give(*index, address)?;
    }
    Ok(there.turn_on(*index, new_name)?)
}

/// Opens a socket that speaks for `namespace`, which we are in for a moment.
fn open_in(namespace: impl AsFd) -> sys::Result<Netlink> {
    let ours = sys::open("/proc/self/ns/net", OFlag::O_RDONLY, 0)?;
    sys::setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let opened = Netlink::open();
    sys::setns(ours, CloneFlags::CLONE_NEWNET)?;
    opened
}

/// The name that it gets: the kernel would find out that it is taken when the
/// interface has been moved already.
fn free_name(wanted: &str, there: &[Link]) -> anyhow::Result<String> {
    let is_free = |name: &String| !there.iter().any(|(_, it)| it == name);
    let mut names = (0..=there.len()).map(|it| match wanted.contains("%d") {
        true => wanted.replacen("%d", &it.to_string(), 1),
        false => wanted.to_owned(),
    });
    let name = names.find(is_free);
    let name = name.context("there is an interface of that name already")?;
    let bad = |letter: char| letter.is_whitespace() || "/:%\0".contains(letter);
    ensure!(
        (1..16).contains(&name.len())
            && !name.contains(bad)
            && ![".", ".."].contains(&name.as_str()),
        "{wanted:?} is no name for an interface"
    );
    Ok(name)
}

impl Netlink {
    /// All interfaces.
    fn links(&self) -> sys::Result<Vec<Link>> {
        let text = "RTM_GETLINK".into();
        let request = Request::new(RTM_GETLINK, 0, &link(0, 0), text);
        let read = |body: &Vec<u8>| {
            let mut all = attributes(body.get(16..)?);
            let (_, name) = all.find(|(kind, _)| *kind == IFLA_IFNAME)?;
            let name = String::from_utf8_lossy(name);
            Some((number(&body[4..]), name.trim_end_matches('\0').into()))
        };
        Ok(self.list(request)?.iter().filter_map(read).collect())
    }

    /// The addresses of the interface that everybody may know, and that stay: as
    /// the kernel tells them.
    fn addresses_of(&self, index: u32) -> sys::Result<Vec<Vec<u8>>> {
        let text = "RTM_GETADDR".into();
        let mut all = self.list(Request::new(RTM_GETADDR, 0, &[0; 8], text))?;
        all.retain(|body| {
            let scope = body.get(3).copied();
            let its = number(body.get(4..).unwrap_or_default());
            let mut flags = attributes(body.get(8..).unwrap_or_default())
                .filter(|(kind, _)| *kind == IFA_FLAGS)
                .map(|(_, flags)| number(flags));
            scope == Some(libc::RT_SCOPE_UNIVERSE)
                && its == index
                && flags.any(|it| it & IFA_F_PERMANENT != 0)
        });
        Ok(all)
    }

    /// Gives the interface an address that another one has had.
    fn give(&self, index: u32, address: &[u8]) -> anyhow::Result<()> {
        // struct ifaddrmsg: family, length of the prefix, flags, scope, index.
        let mut body = address[..8].to_vec();
        body[4..].copy_from_slice(&index.to_ne_bytes());
        let text = format!("RTM_NEWADDR(interface {index})");
        let mut request = Request::new(RTM_NEWADDR, NEW, &body, text);
        for (kind, value) in attributes(&address[8..]) {
            // Not what it was called, for example.
            let kept = [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS];
            if kept.contains(&kind) {
                request = request.attribute(kind, value);
            }
        }
        match self.ask(request) {
            Err(error) if error.errno == Errno::EEXIST => Ok(()),
            given => Ok(given?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_is_free() {
        let there = ["lo", "eth0", "eth1"].map(|it| (1, it.to_owned()));
        let name = |wanted| free_name(wanted, &there).ok();
        assert_eq!(name("net1"), Some("net1".into()));
        assert_eq!(name("eth0"), None);
        assert_eq!(name("eth%d"), Some("eth2".into()));
        assert_eq!(name("%d"), Some("0".into()));
        for wanted in ["", ".", "a b", "a/b", "a:b", "%s", "a%d%d", "a\0"] {
            assert_eq!(name(wanted), None, "{wanted}");
        }
        assert_eq!(name("sixteen-letters-"), None);
    }
}
