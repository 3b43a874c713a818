//! The addresses of a network.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
};

use anyhow::Context;
use common::sys;
use nix::fcntl::OFlag;

use crate::{
    interfaces::{Address, Route},
    netlink::Netlink,
};

/// The addresses of a network: 254 of IPv4, and as many of IPv6.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subnet {
    /// Its last byte is 0.
    pub v4: Ipv4Addr,
    /// Its last eight bytes are 0. Nothing where IPv6 is turned off.
    pub v6: Option<Ipv6Addr>,
}

/// The number of the bridge itself: the host.
pub(crate) const HOST: u8 = 1;

impl Subnet {
    /// The addresses of number `n`, IPv4 first.
    pub fn addresses(&self, n: u8) -> Vec<Address> {
        let mut v4 = self.v4.octets();
        v4[3] = n;
        let v6 = self.v6.map(|subnet| {
            let mut v6 = subnet.octets();
            v6[15] = n;
            Address {
                ip: v6.into(),
                prefix: 64,
            }
        });
        let v4 = Address {
            ip: v4.into(),
            prefix: 24,
        };
        [Some(v4), v6].into_iter().flatten().collect()
    }

    /// All addresses, those of IPv4 first.
    pub fn prefixes(&self) -> Vec<Address> {
        self.addresses(0)
    }

    /// A range that no route of this machine leads to: a container must not
    /// hide a part of the office, or of a private network far away.
    ///
    /// # Errors
    /// All of them are in use.
    pub fn free(netlink: &Netlink) -> anyhow::Result<Subnet> {
        let routes = netlink.routes(libc::AF_INET)?;
        let candidates = (77..=255).map(|n| Ipv4Addr::new(10, 88, n, 0));
        let others = (0..=255).map(|n| Ipv4Addr::new(172, 31, n, 0));
        let free =
            |it: &Ipv4Addr| !routes.iter().any(|route| covers(route, *it));
        let v4 = candidates.chain(others).find(free).context(
            "the routes of this machine cover 10.88.77.0 to 10.88.255.255 and \
             172.31.0.0/16: `ip route show table all` shows which",
        )?;
        let v6 = match has_v6() {
            true => Some(local_prefix(v4)?),
            false => None,
        };
        Ok(Subnet { v4, v6 })
    }
}

/// Whether a new interface may have addresses of IPv6.
fn has_v6() -> bool {
    let settings = ["all", "default"].map(|it| {
        let path = format!("/proc/sys/net/ipv6/conf/{it}/disable_ipv6");
        fs::read_to_string(path)
    });
    let is_on =
        |it: std::io::Result<String>| it.is_ok_and(|it| it.trim() == "0");
    settings.into_iter().all(is_on)
}

/// Whether a route leads to any address of the 256 from `first` on. The default
/// route leads everywhere, and says nothing.
fn covers(route: &Route, first: Ipv4Addr) -> bool {
    let Some(destination) = route.destination.first_chunk::<4>() else {
        return false;
    };
    let bits = u32::from(route.prefix.min(24));
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    let destination = u32::from_be_bytes(*destination);
    bits > 0 && (destination ^ u32::from(first)) & mask == 0
}

/// A prefix of one's own, as RFC 4193 has it: fd, 40 bits of chance, and 16 for
/// the network.
fn local_prefix(v4: Ipv4Addr) -> anyhow::Result<Ipv6Addr> {
    let mut bytes = [0; 16];
    let random = sys::open("/dev/urandom", OFlag::O_RDONLY, 0)?;
    sys::read(random, &mut bytes[1..6])?;
    bytes[0] = 0xfd;
    bytes[7] = v4.octets()[2];
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_route_covers() {
        let to = |destination: &[u8], prefix| Route {
            destination: destination.into(),
            prefix,
            interface: None,
        };
        let first = Ipv4Addr::new(10, 88, 77, 0);
        assert!(covers(&to(&[10, 0, 0, 0], 8), first));
        assert!(covers(&to(&[10, 88, 77, 0], 24), first));
        assert!(covers(&to(&[10, 88, 77, 128], 25), first));
        assert!(covers(&to(&[10, 88, 77, 9], 32), first));
        assert!(!covers(&to(&[10, 88, 78, 0], 24), first));
        assert!(!covers(&to(&[10, 89, 0, 0], 16), first));
        assert!(!covers(&to(&[], 0), first));
    }
}
