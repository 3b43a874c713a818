//! The cable: a pair of interfaces. What goes into one comes out of the other,
//! also if that is in another network namespace. See veth(4).

use std::{fs, path::Path};

use anyhow::Context;
use common::{host::files::write_kernel_file, sys};
use libc::{
    IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINKINFO, IFLA_MASTER, IFLA_NET_NS_PID,
    RTM_GETLINK, RTM_NEWLINK,
};
use nix::{errno::Errno, unistd::Pid};

use crate::{
    bridge::{Bridge, hardware_address},
    interfaces::Address,
    netlink::{NEW, Netlink, Request, attributes, index, link},
    subnet::{HOST, Subnet},
};

/// A cable between a bridge and a container.
#[derive(Clone, Debug)]
pub struct Cable {
    /// What it leads to.
    pub bridge: String,
    /// What its end in the container is called: `eth0`.
    pub inside: String,
    /// The number of the container's address.
    pub number: u8,
    /// Which addresses there are.
    pub subnet: Subnet,
}

const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
/// From linux/veth.h.
const VETH_INFO_PEER: u16 = 1;

impl Cable {
    /// A cable of `bridge` for the container with this address; `nth` counts
    /// those of the container.
    #[must_use]
    pub fn new(bridge: &Bridge, number: u8, nth: usize) -> Cable {
        Cable {
            bridge: bridge.name.clone(),
            inside: format!("eth{nth}"),
            number,
            subnet: bridge.subnet,
        }
    }

    /// What its end on the host is called.
    #[must_use]
    pub fn outside(&self) -> String {
        format!("{}.{}", self.bridge, self.number)
    }

    /// The container's addresses, IPv4 first.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.subnet.addresses(self.number)
    }

    /// Plugs it in: one end into the bridge, the other one into the network
    /// namespace of the process `container`, in which it is made.
    ///
    /// For root of the host. See veth(4).
    pub fn plug_in(&self, container: Pid) -> sys::Result<()> {
        let netlink = Netlink::open()?;
        // A container that had the address was killed, and its namespace is on
        // its way.
        self.pull_out()?;
        let (outside, container) = (self.outside(), container.as_raw());
        let text = format!(
            "RTM_NEWLINK({outside:?}, veth, peer {:?} of process {container})",
            self.inside,
        );
        let hardware = hardware_address(self.addresses()[0].ip);
        let bridge = index(&self.bridge)?.to_ne_bytes();
        let peer = |it: Request| {
            it.structure(&link(0, 0))
                .string(IFLA_IFNAME, &self.inside)
                .attribute(IFLA_ADDRESS, &hardware)
                .attribute(IFLA_NET_NS_PID, &container.to_ne_bytes())
        };
        let request = Request::new(RTM_NEWLINK, NEW, &link(0, 0), text)
            .string(IFLA_IFNAME, &outside)
            .attribute(IFLA_MASTER, &bridge)
            .nested(IFLA_LINKINFO, |it| {
                it.attribute(IFLA_INFO_KIND, b"veth")
                    .nested(IFLA_INFO_DATA, |it| {
                        it.nested(VETH_INFO_PEER, peer)
                    })
            });
        netlink.ask(request)?;
        // Not by the first message: while the pair is half made, a cable that
        // is turned on is ENOTCONN. See veth_open() in drivers/net/veth.c.
        netlink.set_up(&outside)
    }

    /// Removes both ends, if they are there. What is called so and is no cable,
    /// the VLAN `dmz.2` for example, is somebody else's.
    pub fn pull_out(&self) -> sys::Result<()> {
        let netlink = Netlink::open()?;
        let outside = self.outside();
        if !is_cable(&netlink, &outside)? {
            return Ok(());
        }
        match netlink.delete(&outside) {
            Err(error) if error.errno == Errno::ENODEV => Ok(()),
            removed => removed,
        }
    }

    /// Turns its end on the host off, or on again, if it is plugged in: nothing
    /// comes out of the container or into it meanwhile, and what it has stays.
    pub(crate) fn turn(&self, on: bool) -> sys::Result<()> {
        let netlink = Netlink::open()?;
        let outside = self.outside();
        if !is_cable(&netlink, &outside)? {
            return Ok(());
        }
        let turned = match on {
            true => netlink.set_up(&outside),
            false => netlink.set_down(&outside),
        };
        match turned {
            Err(error) if error.errno == Errno::ENODEV => Ok(()),
            turned => turned,
        }
    }

    /// The container's side: addresses, on, and, if `leads_out`, the way to
    /// everywhere else.
    ///
    /// For the container's root: nobody else's rights are used inside.
    pub fn set_up_inside(&self, leads_out: [bool; 2]) -> sys::Result<()> {
        let netlink = Netlink::open()?;
        self.take_nobody_for_a_router();
        for address in self.addresses() {
            netlink.add_address(&self.inside, address)?;
        }
        netlink.set_up(&self.inside)?;
        let gateways = self.subnet.addresses(HOST);
        let gateways = gateways.into_iter().zip(leads_out);
        for (gateway, _) in gateways.filter(|(_, leads)| *leads) {
            netlink.add_default_route(gateway)?;
        }
        Ok(())
    }
}

/// Whether there is an interface of this kind that is called so.
fn is_cable(netlink: &Netlink, name: &str) -> sys::Result<bool> {
    let request =
        Request::new(RTM_GETLINK, 0, &link(0, 0), "RTM_GETLINK".into());
    let name = [name.as_bytes(), b"\0"].concat();
    let kind = |info| attributes(info).find(|it| it.0 == IFLA_INFO_KIND);
    Ok(netlink.list(request)?.iter().any(|it| {
        let all = || attributes(it.get(16..).unwrap_or(&[]));
        let of_kind = |(number, info)| {
            number == IFLA_LINKINFO
                && kind(info).is_some_and(|it| it.1.starts_with(b"veth"))
        };
        all().any(|it| it == (IFLA_IFNAME, &name[..])) && all().any(of_kind)
    }))
}

impl Cable {
    /// Who else is on the bridge could say that it leads out by IPv6, and be
    /// believed (CVE-2020-10749). A kernel without IPv6 has no such files.
    fn take_nobody_for_a_router(&self) {
        for version in ["ipv4", "ipv6"] {
            for setting in ["accept_redirects", "accept_ra"] {
                let file = format!("{version}/conf/{}/{setting}", self.inside);
                let file = Path::new("/proc/sys/net").join(file);
                let _ = write_kernel_file(file, "0");
            }
        }
    }
}

/// Allows ping(8) to all groups of this container, which has no CAP_NET_RAW:
/// there is a socket that can send echo requests and nothing else. See icmp(7),
/// `ping_group_range`.
///
/// For the container's root, before `/proc/sys` is read-only.
pub fn allow_ping() -> anyhow::Result<()> {
    let map = fs::read_to_string("/proc/self/gid_map");
    let map = map.context("reading /proc/self/gid_map")?;
    let last = last_group(&map).context("there is a group 0")?;
    let path = Path::new("/proc/sys/net/ipv4/ping_group_range");
    Ok(write_kernel_file(path, &format!("0 {last}"))?)
}

/// The last one of the groups from 0 on that a table has.
fn last_group(gid_map: &str) -> Option<u32> {
    let mut end = 0;
    let fields: Vec<u64> = gid_map
        .split_whitespace()
        .filter_map(|it| it.parse().ok())
        .collect();
    let mut lines: Vec<&[u64]> = fields.chunks_exact(3).collect();
    lines.sort_unstable();
    for line in lines {
        if line[0] == end {
            end += line[2];
        }
    }
    // The highest number is nobody's.
    u32::try_from(end.checked_sub(1)?.min(u64::from(u32::MAX) - 1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_groups_of_a_container_may_ping() {
        assert_eq!(last_group("0 100000 65536\n"), Some(65535));
        assert_eq!(last_group("0 1000 1\n1 100000 65536\n"), Some(65536));
        assert_eq!(last_group("1 100000 65536\n0 1000 1\n"), Some(65536));
        assert_eq!(last_group("0 0 4294967295\n"), Some(4294967294));
        assert_eq!(last_group("5 0 1\n"), None);
    }
}
