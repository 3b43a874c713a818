//! The container's side: where in there a server is.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        self, AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt,
        sockopt,
    },
};

/// The addresses at which a server of the container may listen, in the order in
/// which they are tried.
///
/// One that listens at all addresses listens at the first. Others listen at the
/// loopback address of one version of IP, or at their own address only.
#[derive(Clone, Copy)]
pub(super) struct Places {
    port: u16,
    tried: u8,
}

impl Places {
    pub(super) fn of(port: u16) -> Places {
        Places { port, tried: 0 }
    }
}

impl Iterator for Places {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        let address = loop {
            self.tried += 1;
            let address = match self.tried {
                1 => Some(Ipv4Addr::LOCALHOST.into()),
                2 => Some(Ipv6Addr::LOCALHOST.into()),
                3 => own(Ipv4Addr::UNSPECIFIED.into(), SOMEBODY),
                4 => own(Ipv6Addr::UNSPECIFIED.into(), SOMEBODY_6),
                _ => {
                    self.tried = 4;
                    return None;
                }
            };
            if let Some(address) = address {
                break address;
            }
        };
        Some(SocketAddr::new(address, self.port))
    }
}

/// Addresses for examples, which nobody has. See RFC 5737 and RFC 3849.
const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const SOMEBODY_6: IpAddr =
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// The container's own address: the one that it would speak to strangers with.
/// To connect a socket of UDP sends nothing, it only looks for the way. See
/// udp(7).
fn own(any: IpAddr, somebody: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((somebody, 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    Some(own).filter(|it| !it.is_loopback())
}

/// Begins to connect, and does not wait for it.
pub(super) fn begin(place: SocketAddr) -> nix::Result<OwnedFd> {
    let family = match place {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let server = socket::socket(family, SockType::Stream, flags, None)?;
    match socket::connect(server.as_raw_fd(), &SockaddrStorage::from(place)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(server),
        Err(errno) => Err(errno),
    }
}

/// After how many seconds of silence a server is asked whether it is still there.
const SILENCE: u32 = 10;

/// A server that has closed a connection is rid of it after a minute, whatever its
/// client does. We would keep it until the client ends its direction, too; so the
/// server's kernel is asked, and if it knows nothing of it, that is a reset. See
/// tcp(7), TCP_KEEPIDLE and tcp_fin_timeout.
pub(super) fn notice_its_end(server: &TcpStream) -> nix::Result<()> {
    setsockopt(server, sockopt::KeepAlive, &true)?;
    setsockopt(server, sockopt::TcpKeepIdle, &SILENCE)?;
    setsockopt(server, sockopt::TcpKeepInterval, &SILENCE)
}

/// A socket in the container that speaks with `place` alone.
pub(super) fn speak_with(place: SocketAddr) -> Option<UdpSocket> {
    let any = match place {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(place).ok()?;
    Some(socket)
}
