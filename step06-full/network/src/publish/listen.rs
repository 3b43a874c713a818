//! The host's side: sockets that are bound to ports of this machine.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

use anyhow::{Context, bail};
use common::{
    errors::{Advice, Page},
    sys::{self, SocketOption},
};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, Backlog, SockType, SockaddrStorage},
};

use super::{
    owner,
    port::{Port, Protocol},
};

/// Where the book explains it.
pub(super) const PAGE: Page = Page {
    title: "A port without a network",
    path: "ports",
};

/// A port that is ours.
#[derive(Debug)]
pub struct Open {
    /// What was asked for.
    pub port: Port,
    /// What it has become: with the host's port that it was given.
    pub address: SocketAddr,
    pub(super) socket: Socket,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
        }
    }
}

/// As `docker ps` prints it.
impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Port {
            container,
            protocol,
            ..
        } = &self.port;
        write!(f, "{}->{container}/{protocol}", self.address)
    }
}

/// Opens all `ports`.
///
/// Must run in the host's network namespace: there they stay.
///
/// # Errors
/// One of them is in use, kept for root, or bound to an address that this
/// machine has not; or two of them are the same.
pub(super) fn open(ports: &[Port]) -> anyhow::Result<Vec<Open>> {
    // By their numbers: a range has thousands, each to be compared with a few.
    let mut seen: HashMap<_, Vec<&Port>> = HashMap::new();
    for port in ports {
        let others = seen.entry(&port.host).or_default();
        if let Some(other) = others.iter().find(|it| it.collides_with(port)) {
            bail!(
                "-p {other} and -p {port} want the same port of this machine"
            );
        }
        if !port.is_chosen() {
            others.push(port);
        }
    }
    let opened = ports.iter().map(|port| {
        open_one(port).with_context(|| format!("publishing {port}"))
    });
    opened.collect()
}

/// Opens the first port of a range that is free.
fn open_one(port: &Port) -> anyhow::Result<Open> {
    for host in port.host.clone() {
        let address = SocketAddr::new(port.address, host);
        match bind(port, address) {
            Ok(open) => return Ok(open),
            Err(error)
                if error.errno == Errno::EADDRINUSE
                    && host < *port.host.end() => {}
            Err(error) => return Err(explain(error, port, address)),
        }
    }
    bail!("the range has no port")
}

fn bind(port: &Port, address: SocketAddr) -> sys::Result<Open> {
    let (domain, info) = match address {
        SocketAddr::V4(_) => (AddressFamily::Inet, sys::IP_PKTINFO),
        SocketAddr::V6(_) => (AddressFamily::Inet6, sys::IPV6_RECVPKTINFO),
    };
    let kind = match port.protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let socket = sys::socket(domain, kind)?;
    let mut options = Vec::from(options(port.protocol, info));
    if address.is_ipv6() {
        // Otherwise [::] would be all of IPv4 as well, and 0.0.0.0 be taken.
        options.push(sys::IPV6_V6ONLY);
    }
    for option in options {
        sys::setsockopt_on(&socket, option)?;
    }
    sys::bind(&socket, address)?;
    let (socket, address) = match port.protocol {
        Protocol::Tcp => {
            sys::listen(&socket, Backlog::MAXCONN)?;
            let socket = TcpListener::from(socket);
            socket.local_addr().map(|it| (Socket::Tcp(socket), it))
        }
        Protocol::Udp => {
            let socket = UdpSocket::from(socket);
            socket.local_addr().map(|it| (Socket::Udp(socket), it))
        }
    }
    .expect("what is bound has an address");
    Ok(Open {
        port: port.clone(),
        address,
        socket,
    })
}

/// What a socket is to do. Connections have it from the socket that listens.
fn options(protocol: Protocol, info: SocketOption) -> [SocketOption; 3] {
    match protocol {
        Protocol::Tcp => [
            // Connections that have ended wait for a minute, and keep the port.
            sys::SO_REUSEADDR,
            // A peer that has lost its network is gone, after two hours.
            sys::SO_KEEPALIVE,
            // What is passed on has waited already. See tcp(7).
            sys::TCP_NODELAY,
        ],
        // Each datagram says which of our addresses it was sent to.
        Protocol::Udp => [info; 3],
    }
}

/// Adds what to do about it.
fn explain(
    error: sys::Error,
    port: &Port,
    address: SocketAddr,
) -> anyhow::Error {
    let advice = match error.errno {
        Errno::EADDRINUSE => in_use(port.protocol, address),
        Errno::EADDRNOTAVAIL => not_ours(),
        Errno::EACCES => kept_for_root(),
        _ => return error.into(),
    };
    anyhow::Error::from(error).context(advice)
}

fn in_use(protocol: Protocol, address: SocketAddr) -> Advice {
    let fix = "publish another one, or none in particular: \
               -p :CONTAINER-PORT takes one that is free";
    Advice {
        cause: match owner::of(protocol, address) {
            Some(owner) => format!("{owner} has this port"),
            None => "somebody has this port (sudo ss -tulnp)".into(),
        },
        fix: fix.into(),
        page: PAGE.to_string(),
    }
}

fn not_ours() -> Advice {
    let mut ours: Vec<IpAddr> = getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|it| ip(&it.address?))
        .collect();
    ours.sort();
    ours.dedup();
    let ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
    Advice {
        cause: "this machine has no such address".into(),
        fix: format!("it has {}", ours.join(", ")),
        page: PAGE.to_string(),
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let four = address.as_sockaddr_in().map(|it| it.ip().into());
    four.or_else(|| address.as_sockaddr_in6().map(|it| it.ip().into()))
}

fn kept_for_root() -> Advice {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let first = std::fs::read_to_string(path);
    let first = first.as_deref().unwrap_or("1024").trim().to_owned();
    Advice {
        cause: format!("ports below {first} are kept for root"),
        fix: format!(
            "publish one from {first} on, or let everybody have all of them: \
             sudo sysctl net.ipv4.ip_unprivileged_port_start=0"
        ),
        page: PAGE.to_string(),
    }
}
