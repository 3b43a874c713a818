//! What somebody has typed behind `-p`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
};

use anyhow::{Context, bail, ensure};

/// What speaks through a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A port of the container, and where it is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The host's address that it is bound to.
    pub address: IpAddr,
    /// The host's ports of which it gets the first that is free; 0 is any.
    pub host: RangeInclusive<u16>,
    /// The container's port.
    pub container: u16,
    /// What speaks through it.
    pub protocol: Protocol,
}

impl Port {
    /// Whether nobody has said which one it is to be.
    pub fn is_chosen(&self) -> bool {
        self.host.start() != self.host.end() || *self.host.start() == 0
    }

    /// Whether `other` wants the same port of the same address.
    pub fn collides_with(&self, other: &Port) -> bool {
        let same_address = self.address == other.address
            || self.address.is_ipv4() == other.address.is_ipv4()
                && (self.address.is_unspecified()
                    || other.address.is_unspecified());
        self.protocol == other.protocol
            && same_address
            && !self.is_chosen()
            && self.host == other.host
    }
}

/// The ports of one `-p`: one, or a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec(pub Vec<Port>);

/// Which address a port is bound to if nobody says which: only this machine's
/// own programs reach it.
const DEFAULT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl FromStr for Spec {
    type Err = anyhow::Error;

    /// `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`, as with Docker.
    fn from_str(text: &str) -> anyhow::Result<Spec> {
        let (ports, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => bail!("{other:?} is neither tcp nor udp"),
        };
        let (outside, container) =
            ports.rsplit_once(':').unwrap_or(("", ports));
        ensure!(
            parse_address(outside).is_err(),
            "which port of this machine? {outside}:8080:{container}, or any: \
             {outside}::{container}"
        );
        let (address, host) = match outside.rsplit_once(':') {
            Some((address, host)) => (parse_address(address)?, host),
            None => (DEFAULT, outside),
        };
        let container = range(container)?;
        ensure!(*container.start() != 0, "a container has no port 0");
        let host = match host {
            "" => None,
            text => Some(range(text)?).filter(|range| *range != (0..=0)),
        };
        let hosts = share(host, &container)?;
        let ports = container.zip(hosts).map(|(container, host)| Port {
            address,
            host,
            container,
            protocol,
        });
        Ok(Spec(ports.collect()))
    }
}

/// An address; of version 6 in brackets, since it has colons of its own.
fn parse_address(text: &str) -> anyhow::Result<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if let Some(inner) = inner {
        let address: Result<Ipv6Addr, _> = inner.parse();
        let address = address
            .with_context(|| format!("{inner:?} is no address of IPv6"))?;
        let mapped = address.to_ipv4_mapped();
        ensure!(mapped.is_none(), "{address} is one of IPv4: write it so");
        return Ok(address.into());
    }
    ensure!(
        text.parse::<Ipv6Addr>().is_err() && !text.contains(':'),
        "an address of IPv6 stands in brackets: [::1]:8080:80"
    );
    let address: Result<Ipv4Addr, _> = text.parse();
    Ok(address
        .with_context(|| format!("{text:?} is no address of this machine"))?
        .into())
}

/// A port, or the first and the last of several.
fn range(text: &str) -> anyhow::Result<RangeInclusive<u16>> {
    let number = |text: &str| {
        let digits = text.bytes().all(|it| it.is_ascii_digit());
        let number: Option<u16> = text.parse().ok().filter(|_| digits);
        number.with_context(|| format!("{text:?} is no port: 0 to 65535"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    ensure!(first <= last, "the range {text} ends before it begins");
    ensure!(first != 0 || last == 0, "a range can't begin with port 0");
    Ok(first..=last)
}

/// What of the host's ports each of the container's gets.
fn share(
    host: Option<RangeInclusive<u16>>,
    container: &RangeInclusive<u16>,
) -> anyhow::Result<Vec<RangeInclusive<u16>>> {
    Ok(match host {
        None => container.clone().map(|_| 0..=0).collect(),
        // The first one that is free.
        Some(host) if container.len() == 1 => vec![host],
        Some(host) => {
            ensure!(
                host.len() == container.len(),
                "{} ports of the host can't lead to {} of the container",
                host.len(),
                container.len()
            );
            host.map(|it| it..=it).collect()
        }
    })
}

/// As people type it, and with brackets where they are wanted.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = SocketAddr::new(self.address, *self.host.start());
        write!(f, "{first}")?;
        if self.host.start() != self.host.end() {
            write!(f, "-{}", self.host.end())?;
        }
        write!(f, ":{}/{}", self.container, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match text.parse::<Spec>() {
            Ok(Spec(ports)) => {
                let texts = ports.iter().map(ToString::to_string);
                texts.collect::<Vec<_>>().join(" ")
            }
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_port_is_bound_to_this_machine_alone_unless_it_says_more() {
        assert_eq!(parsed("8080:80"), "127.0.0.1:8080:80/tcp");
        assert_eq!(parsed("0.0.0.0:8080:80"), "0.0.0.0:8080:80/tcp");
        assert_eq!(parsed("[::]:53:53/udp"), "[::]:53:53/udp");
        assert_eq!(parsed("10.0.0.1:8080:80/tcp"), "10.0.0.1:8080:80/tcp");
    }

    #[test]
    fn what_is_left_out_is_chosen() {
        for text in ["80", ":80", "0:80", "127.0.0.1::80", "127.0.0.1:0:80"] {
            assert_eq!(parsed(text), "127.0.0.1:0:80/tcp", "{text}");
        }
        assert_eq!(parsed("8000-8010:80"), "127.0.0.1:8000-8010:80/tcp");
    }

    #[test]
    fn a_range_is_a_port_each() {
        let two = "127.0.0.1:8000:90/udp 127.0.0.1:8001:91/udp";
        assert_eq!(parsed("8000-8001:90-91/udp"), two);
        let two = "127.0.0.1:0:90/tcp 127.0.0.1:0:91/tcp";
        assert_eq!(parsed("90-91"), two);
    }

    #[test]
    fn what_is_no_port_is_named() {
        for (text, words) in [
            ("", "\"\" is no port"),
            ("a:80", "\"a\" is no port"),
            ("+1:80", "\"+1\" is no port"),
            ("65536:80", "\"65536\" is no port"),
            ("80:0", "a container has no port 0"),
            ("0-1:0-1", "begin with port 0"),
            ("1-3:1-2", "3 ports of the host can't lead to 2"),
            ("80:80/sctp", "neither tcp nor udp"),
            ("::1:80:80", "in brackets"),
            ("[::1:80:80", "in brackets"),
            ("localhost:80:80", "no address"),
            ("127.0.0.1:80", "or any: 127.0.0.1::80"),
            ("[::1]:80", "or any: [::1]::80"),
            ("[::ffff:127.0.0.1]:80:80", "one of IPv4"),
        ] {
            assert!(parsed(text).contains(words), "{text}: {}", parsed(text));
        }
    }

    #[test]
    fn the_same_port_twice_collides() {
        let port = |text: &str| {
            let spec: Spec = text.parse().expect("it is a port");
            spec.0[0].clone()
        };
        let collide = |one, other| port(one).collides_with(&port(other));
        assert!(collide("80:80", "80:81"));
        assert!(collide("0.0.0.0:80:80", "80:81"));
        assert!(!collide("80:80", "80:80/udp"));
        assert!(!collide("80", "80"));
        assert!(!collide("[::]:80:80", "0.0.0.0:80:80"));
    }
}
