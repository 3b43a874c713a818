//! What is asked of the kernel by netlink, and how ip(8) calls it.

use std::{fmt, net::IpAddr};

use common::sys;
use libc::{
    IFA_F_NODAD, IFA_FLAGS, IFA_LOCAL, IFF_UP, IFLA_IFNAME, RTA_DST,
    RTA_GATEWAY, RTA_OIF, RTM_DELLINK, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK,
    RTM_NEWROUTE, c_int,
};

use crate::netlink::{NEW, Netlink, Request, attributes, index, link, number};

/// An address of an interface, and how many bits of it are the network's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// How many bits all addresses of this network have in common.
    pub prefix: u8,
}

impl Address {
    pub(crate) fn family(self) -> u8 {
        let family = match self.ip {
            IpAddr::V4(_) => libc::AF_INET,
            IpAddr::V6(_) => libc::AF_INET6,
        };
        u8::try_from(family).expect("it fits the field")
    }

    pub(crate) fn octets(self) -> Vec<u8> {
        match self.ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl Netlink {
    /// Turns an interface on: `ip link set NAME up`.
    pub fn set_up(&self, name: &str) -> sys::Result<()> {
        self.turn_on(index(name)?, name)
    }

    /// The same by its number, also where we are not ourselves.
    pub(crate) fn turn_on(&self, index: u32, name: &str) -> sys::Result<()> {
        let text = format!("RTM_NEWLINK({name:?}, IFF_UP)");
        let body = link(index, IFF_UP);
        self.ask(Request::new(RTM_NEWLINK, 0, &body, text))
    }

    /// Turns an interface off: `ip link set NAME down`.
    pub(crate) fn set_down(&self, name: &str) -> sys::Result<()> {
        let text = format!("RTM_NEWLINK({name:?}, no IFF_UP)");
        let mut body = link(index(name)?, 0);
        // Of the flags, this one counts.
        body[12..].copy_from_slice(&IFF_UP.to_ne_bytes());
        self.ask(Request::new(RTM_NEWLINK, 0, &body, text))
    }

    /// Removes an interface, and the other end of a cable with it:
    /// `ip link del NAME`.
    pub fn delete(&self, name: &str) -> sys::Result<()> {
        let text = format!("RTM_DELLINK({name:?})");
        let request = Request::new(RTM_DELLINK, 0, &link(0, 0), text);
        self.ask(request.string(IFLA_IFNAME, name))
    }

    /// Gives an interface an address: `ip address add ADDRESS dev NAME`.
    ///
    /// Nobody is asked whether somebody else has it: that takes a second, and
    /// whoever gave us this address knows. See IFA_F_NODAD in rtnetlink(7).
    pub fn add_address(&self, name: &str, address: Address) -> sys::Result<()> {
        let text = format!("RTM_NEWADDR({name:?}, {address})");
        // struct ifaddrmsg: family, length of the prefix, flags, scope, index.
        let mut body = vec![address.family(), address.prefix, 0, 0];
        body.extend_from_slice(&index(name)?.to_ne_bytes());
        let request = Request::new(RTM_NEWADDR, NEW, &body, text);
        let request = request.attribute(IFA_LOCAL, &address.octets());
        let flags = u32::to_ne_bytes(IFA_F_NODAD);
        self.ask(request.attribute(IFA_FLAGS, &flags))
    }

    /// Sends what leads nowhere else to `gateway`: `ip route add default via
    /// GATEWAY`.
    pub fn add_default_route(&self, gateway: Address) -> sys::Result<()> {
        let text = format!("RTM_NEWROUTE(default, {})", gateway.ip);
        let body = route(gateway.family());
        let request = Request::new(RTM_NEWROUTE, NEW, &body, text);
        self.ask(request.attribute(RTA_GATEWAY, &gateway.octets()))
    }

    /// All routes of the IPv4 or IPv6 `family`, in whatever table.
    pub fn routes(&self, family: c_int) -> sys::Result<Vec<Route>> {
        let family = u8::try_from(family).expect("it fits the field");
        let text = format!("RTM_GETROUTE(family {family})");
        let mut body = [0; 12];
        body[0] = family;
        let request = Request::new(RTM_GETROUTE, 0, &body, text);
        let entries = self.list(request)?;
        Ok(entries.iter().filter_map(|it| Route::read(it)).collect())
    }
}

/// `struct rtmsg`: family, lengths, table, who has made it, scope, kind, flags.
fn route(family: u8) -> [u8; 12] {
    let mut body = [0; 12];
    body[0] = family;
    body[4] = libc::RT_TABLE_MAIN;
    body[5] = libc::RTPROT_STATIC;
    body[6] = libc::RT_SCOPE_UNIVERSE;
    body[7] = libc::RTN_UNICAST;
    body
}

/// A route of the host.
#[derive(Debug, PartialEq)]
pub struct Route {
    /// Where it leads to; nothing is everywhere.
    pub destination: Vec<u8>,
    /// How many bits of it count.
    pub prefix: u8,
    /// The number of the interface, if it is one.
    pub interface: Option<u32>,
}

impl Route {
    fn read(body: &[u8]) -> Option<Route> {
        let mut route = Route {
            destination: Vec::new(),
            prefix: *body.get(1)?,
            interface: None,
        };
        for (kind, value) in attributes(body.get(12..)?) {
            match kind {
                RTA_DST => route.destination = value.to_vec(),
                RTA_OIF if value.len() == 4 => {
                    route.interface = Some(number(value));
                }
                _ => {}
            }
        }
        Some(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel is asked as anybody: it refuses, and says what.
    #[test]
    fn what_the_kernel_says_is_in_the_error() {
        let netlink = Netlink::open().expect("everybody may");
        let error = netlink.delete("no-such-one").expect_err("there is none");
        let text = format!("{error}");
        assert!(text.starts_with("RTM_DELLINK(\"no-such-one\""), "{text}");
        let routes = netlink.routes(libc::AF_INET).expect("a list");
        assert!(routes.iter().all(|it| it.prefix <= 32), "{routes:?}");
    }
}
