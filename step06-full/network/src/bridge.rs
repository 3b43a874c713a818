//! The switch: a bridge, to which the cables of all containers of a network
//! lead.
//!
//! It is an interface of the host, and so the host is on the network, too, with
//! its first address: the way out goes through it. See bridge(8).

use std::{net::IpAddr, path::Path};

use anyhow::{Context, ensure};
use common::{errors::Advice, host::files::write_kernel_file, sys};
use libc::{
    IFLA_ADDRESS, IFLA_IFALIAS, IFLA_IFNAME, IFLA_LINKINFO, IFLA_MASTER,
    RTM_GETLINK, RTM_NEWLINK,
};
use nix::{errno::Errno, ifaddrs::getifaddrs};

use crate::{
    addresses::Directory,
    netlink::{NEW, Netlink, Request, attributes, index, link},
    place::NETWORKS,
    subnet::{HOST, Subnet},
};

/// What our bridges carry, so that no other one is taken for ours: an alias, as
/// `ip link` shows it.
const ALIAS: &str = "container-in-six-steps";

/// The alias of the bridges whose addresses are written down in our `/run`. There
/// may be another one, in another mount namespace, with others' networks in it.
fn alias() -> sys::Result<String> {
    let place = sys::stat(NETWORKS)?;
    Ok(format!("{ALIAS} {}:{}", place.st_dev, place.st_ino))
}

const IFLA_INFO_KIND: u16 = 1;

/// A bridge of ours.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// What the interface is called.
    pub name: String,
    /// The addresses of those who are on it.
    pub subnet: Subnet,
}

impl Bridge {
    /// Finds the bridge `name`, or makes it.
    ///
    /// To be called with the [`lock`](crate::place::lock) held, which keeps
    /// others from making the same one, or another with the same addresses.
    ///
    /// # Errors
    /// An interface of this name is not ours; the kernel can't make a bridge;
    /// `EPERM` without CAP_NET_ADMIN.
    pub fn find_or_make(name: &str) -> anyhow::Result<Bridge> {
        let netlink = Netlink::open()?;
        if !exists(name) {
            return make(&netlink, name);
        }
        ensure!(
            is_ours(&netlink, name)?,
            "there is an interface {name:?} on this machine, and it is no \
             bridge of ours: choose another name for the network"
        );
        if !has_alias(&netlink, name, &alias()?)? {
            // An earlier version did not say in which /run. Who is in it does.
            let is_known = has_alias(&netlink, name, ALIAS)?
                && Directory::open(name)?.has_a_process();
            ensure!(
                is_known || !Bridge::has_cables(name)?,
                "the network {name:?} is one of containers that were started \
                 with another /run, where their addresses are written down: \
                 choose another name for the network"
            );
            set_alias(&netlink, name)?;
        }
        match subnet(name)? {
            Some(subnet) => Ok(Bridge {
                name: name.into(),
                subnet,
            }),
            // Whoever made it was killed in the midst of it.
            None => {
                netlink.delete(name)?;
                make(&netlink, name)
            }
        }
    }

    /// Whether there is a bridge of ours that is called so.
    pub fn is_there(name: &str) -> anyhow::Result<bool> {
        Ok(exists(name) && is_ours(&Netlink::open()?, name)?)
    }

    /// The names of all bridges of ours.
    pub(crate) fn all() -> sys::Result<Vec<String>> {
        all(&Netlink::open()?)
    }

    /// Whether anything is plugged into the bridge `name`, whoever it may
    /// belong to.
    pub(crate) fn has_cables(name: &str) -> sys::Result<bool> {
        let bridge = index(name)?.to_ne_bytes();
        let leads_there = |link: &Vec<u8>| {
            let mut all = attributes(link.get(16..).unwrap_or(&[]));
            all.any(|it| it == (IFLA_MASTER, &bridge[..]))
        };
        Ok(links(&Netlink::open()?)?.iter().any(leads_there))
    }

    /// The same as [`Bridge::find_or_make`], if it is there.
    pub fn find(name: &str) -> anyhow::Result<Option<Bridge>> {
        if !Bridge::is_there(name)? {
            return Ok(None);
        }
        let name = name.to_owned();
        Ok(subnet(&name)?.map(|subnet| Bridge { name, subnet }))
    }
}

/// `ip link add NAME type bridge`, `ip address add`, `ip link set up`.
fn make(netlink: &Netlink, name: &str) -> anyhow::Result<Bridge> {
    let subnet = Subnet::free(netlink)?;
    let host = subnet.addresses(HOST);
    let text = format!("RTM_NEWLINK({name:?}, bridge)");
    let request = Request::new(RTM_NEWLINK, NEW, &link(0, 0), text)
        .string(IFLA_IFNAME, name)
        // Otherwise it is that of one of the cables, and changes with them.
        .attribute(IFLA_ADDRESS, &hardware_address(host[0].ip))
        .nested(IFLA_LINKINFO, |it| it.attribute(IFLA_INFO_KIND, b"bridge"));
    netlink.ask(request).map_err(explain)?;
    set_alias(netlink, name)?;
    keep_strangers_out(name);
    for address in host {
        netlink.add_address(name, address)?;
    }
    netlink.set_up(name)?;
    Ok(Bridge {
        name: name.into(),
        subnet,
    })
}

fn explain(error: sys::Error) -> anyhow::Error {
    let advice = match error.errno {
        Errno::EOPNOTSUPP => {
            "this kernel has no bridges: `modprobe bridge` loads them, where \
             they were built"
        }
        Errno::EPERM => "only root can make a bridge on the host",
        _ => return error.into(),
    };
    anyhow::Error::from(error).context(Advice::only(advice))
}

fn set_alias(netlink: &Netlink, name: &str) -> sys::Result<()> {
    let alias = alias()?;
    let text = format!("RTM_NEWLINK({name:?}, alias {alias:?})");
    let request = Request::new(RTM_NEWLINK, 0, &link(0, 0), text);
    let request = request.string(IFLA_IFNAME, name);
    netlink.ask(request.attribute(IFLA_IFALIAS, alias.as_bytes()))
}

/// What comes from the bridge has an address of the bridge, or is dropped; and
/// nobody on it is taken for a router. Nobody could pretend so without
/// CAP_NET_RAW: these are second lines. A kernel without IPv6 has no such file.
fn keep_strangers_out(name: &str) {
    for (setting, value) in [
        (format!("ipv4/conf/{name}/rp_filter"), "1"),
        (format!("ipv4/conf/{name}/accept_redirects"), "0"),
        (format!("ipv6/conf/{name}/accept_ra"), "0"),
        (format!("ipv6/conf/{name}/accept_redirects"), "0"),
    ] {
        let _ =
            write_kernel_file(Path::new("/proc/sys/net").join(setting), value);
    }
}

/// A hardware address that follows from the address: whoever gets the one gets
/// the other, and no neighbour remembers anything wrong. 02 says that it was
/// made up here.
pub(crate) fn hardware_address(ip: IpAddr) -> [u8; 6] {
    let mut bytes = [2, 0, 0, 0, 0, 0];
    if let IpAddr::V4(ip) = ip {
        bytes[2..].copy_from_slice(&ip.octets());
    }
    bytes
}

fn exists(name: &str) -> bool {
    index(name).is_ok()
}

fn is_ours(netlink: &Netlink, name: &str) -> sys::Result<bool> {
    Ok(all(netlink)?.iter().any(|it| it == name))
}

fn has_alias(netlink: &Netlink, name: &str, alias: &str) -> sys::Result<bool> {
    let links = links(netlink)?;
    let mut ours = links
        .iter()
        .filter(|it| text(it, IFLA_IFNAME).is_some_and(|it| it == name));
    Ok(ours.any(|it| text(it, IFLA_IFALIAS).is_some_and(|it| it == alias)))
}

/// All interfaces of this network namespace.
fn links(netlink: &Netlink) -> sys::Result<Vec<Vec<u8>>> {
    let text = "RTM_GETLINK".into();
    netlink.list(Request::new(RTM_GETLINK, 0, &link(0, 0), text))
}

/// The names of all that carry our alias, by the list of all interfaces: the
/// files in /sys may be those of another network namespace.
fn all(netlink: &Netlink) -> sys::Result<Vec<String>> {
    let links = links(netlink)?;
    let is_ours = |link: &[u8]| {
        let alias = text(link, IFLA_IFALIAS).unwrap_or_default();
        alias.split(' ').next() == Some(ALIAS)
    };
    let ours = links.iter().filter(|it| is_ours(it));
    Ok(ours.filter_map(|it| text(it, IFLA_IFNAME)).collect())
}

/// An attribute of an interface that is a text.
fn text(link: &[u8], wanted: u16) -> Option<String> {
    let mut all = attributes(link.get(16..).unwrap_or(&[]));
    let (_, value) = all.find(|(kind, _)| *kind == wanted)?;
    let value = value.strip_suffix(b"\0").unwrap_or(value);
    String::from_utf8(value.to_vec()).ok()
}

/// The addresses that a bridge of ours has: it is the only place where they are
/// written down.
fn subnet(name: &str) -> anyhow::Result<Option<Subnet>> {
    let all = getifaddrs().context("getifaddrs(3)")?;
    let of_it = all.filter(|it| it.interface_name == name);
    let (mut v4, mut v6) = (None, None);
    for address in of_it.filter_map(|it| it.address) {
        if let Some(address) = address.as_sockaddr_in() {
            let [a, b, c, _] = address.ip().octets();
            v4 = Some([a, b, c, 0].into());
        }
        if let Some(address) = address.as_sockaddr_in6() {
            let mut octets = address.ip().octets();
            octets[8..].fill(0);
            v6 = Some(octets.into()).filter(|_| octets[0] == 0xfd).or(v6);
        }
    }
    Ok(v4.map(|v4| Subnet { v4, v6 }))
}
