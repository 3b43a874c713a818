//! Sockets of the internet: addresses and ports.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{self, Backlog, SockaddrIn, SockaddrIn6, SockaddrLike};

use super::{Result, argument::Argument, call};

/// See bind(2), ip(7) and ipv6(7).
///
/// # Errors
/// `EADDRINUSE` when somebody has the port, `EADDRNOTAVAIL` when no interface
/// has the address, `EACCES` for a port that is kept for root.
#[track_caller]
pub fn bind(fd: impl AsFd, addr: SocketAddr) -> Result<()> {
    let fd = fd.as_fd();
    let number = fd.as_raw_fd();
    let (bound, length) = match addr {
        SocketAddr::V4(it) => {
            let it = SockaddrIn::from(it);
            (socket::bind(number, &it), it.len())
        }
        SocketAddr::V6(it) => {
            let it = SockaddrIn6::from(it);
            (socket::bind(number, &it), it.len())
        }
    };
    call!(bind(fd, addr, length), bound)
}

/// See listen(2). The kernel takes no more than net.core.somaxconn for
/// `backlog`.
///
/// # Errors
/// `EADDRINUSE` as for [`bind`]: two may bind the same port, and one may listen.
#[track_caller]
pub fn listen(fd: impl AsFd, backlog: Backlog) -> Result<()> {
    let fd = fd.as_fd();
    let number = i32::from(backlog);
    call!(listen(fd, number), socket::listen(&fd, backlog))
}

/// As strace(1) prints it, without the parts of IPv6 that are hardly ever used.
impl Argument for SocketAddr {
    fn text(&self) -> String {
        let port = self.port();
        match self {
            SocketAddr::V4(it) => {
                let address = it.ip();
                format!(
                    "{{sa_family=AF_INET, sin_port=htons({port}), \
                     sin_addr=inet_addr(\"{address}\")}}"
                )
            }
            SocketAddr::V6(it) => {
                let (address, scope) = (it.ip(), it.scope_id());
                format!(
                    "{{sa_family=AF_INET6, sin6_port=htons({port}), \
                     inet_pton(AF_INET6, \"{address}\"), \
                     sin6_scope_id={scope}}}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::{
        errno::Errno,
        sys::socket::{AddressFamily, SockType},
    };

    use super::*;
    use crate::sys::socket;

    /// The texts are those of strace 6.1 for the same calls.
    #[test]
    fn a_port_that_somebody_has_is_named() {
        let socket = || {
            let socket = socket(AddressFamily::Inet, SockType::Stream);
            socket.expect("a socket")
        };
        let (first, second) = (socket(), socket());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        bind(&first, any).expect("a port is free");
        listen(&first, Backlog::MAXCONN).expect("nobody else has it");
        let first = std::net::TcpListener::from(first);
        let taken = first.local_addr().expect("it has one");
        let error = bind(&second, taken).expect_err("it is taken");
        assert_eq!(error.errno, Errno::EADDRINUSE);
        let (fd, port) = (second.as_raw_fd(), taken.port());
        assert_eq!(
            error.to_string(),
            format!(
                "bind({fd}, {{sa_family=AF_INET, sin_port=htons({port}), \
                 sin_addr=inet_addr(\"127.0.0.1\")}}, 16)"
            )
        );
    }
}
