//! Sockets, wherever they lead: making them, their options, plain bytes.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, socklen_t};
use nix::{
    errno::Errno,
    sys::socket::{
        self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType,
    },
};

use super::{
    Result,
    argument::{Argument, SHOWN, Word, quote},
    call, finish,
};

/// See socket(2). The socket is closed at exec.
#[track_caller]
pub fn socket(domain: AddressFamily, kind: SockType) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    finish(socket::socket(domain, kind, flags, None), || {
        let domain = match domain {
            AddressFamily::Inet => "AF_INET",
            AddressFamily::Inet6 => "AF_INET6",
            AddressFamily::Unix => "AF_UNIX",
            AddressFamily::Netlink => "AF_NETLINK",
            _ => "AF_...",
        };
        let kind = kind_name(kind);
        format!("socket({domain}, {kind}|SOCK_CLOEXEC, 0)")
    })
}

/// See netlink(7): a socket that speaks with the kernel's firewall.
#[track_caller]
pub fn socket_netfilter() -> Result<OwnedFd> {
    let made = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    );
    finish(made, || {
        "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_NETFILTER)".into()
    })
}

/// See socketpair(2): two local sockets that are connected to each other. Both
/// are closed at exec.
#[track_caller]
pub fn socketpair(kind: SockType) -> Result<(OwnedFd, OwnedFd)> {
    let (domain, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    let pair = socket::socketpair(domain, kind, None, flags);
    call!(
        socketpair(
            Word("AF_UNIX".into()),
            Word(format!("{}|SOCK_CLOEXEC", kind_name(kind))),
            0,
        ),
        pair
    )
}

fn kind_name(kind: SockType) -> &'static str {
    match kind {
        SockType::Datagram => "SOCK_DGRAM",
        SockType::Stream => "SOCK_STREAM",
        SockType::SeqPacket => "SOCK_SEQPACKET",
        SockType::Raw => "SOCK_RAW",
        _ => "SOCK_...",
    }
}

/// An option of a socket that is switched on or off.
#[derive(Clone, Copy)]
pub struct SocketOption(c_int, c_int, &'static str);

macro_rules! socket_options {
    ($($level:ident $name:ident $page:literal),*) => {
        $(
            #[doc = concat!("See ", $page, ", `", stringify!($name), "`.")]
            pub const $name: SocketOption = SocketOption(
                libc::$level,
                libc::$name,
                concat!(stringify!($level), ", ", stringify!($name)),
            );
        )*
    };
}

socket_options!(
    SOL_SOCKET SO_KEEPALIVE "socket(7)",
    SOL_SOCKET SO_PASSCRED "socket(7) and unix(7)",
    SOL_SOCKET SO_REUSEADDR "socket(7)",
    IPPROTO_TCP TCP_NODELAY "tcp(7)",
    IPPROTO_IP IP_PKTINFO "ip(7)",
    IPPROTO_IPV6 IPV6_RECVPKTINFO "ipv6(7)",
    IPPROTO_IPV6 IPV6_V6ONLY "ipv6(7)",
    SOL_NETLINK NETLINK_CAP_ACK "netlink(7)",
    SOL_NETLINK NETLINK_EXT_ACK "netlink(7)"
);

/// See setsockopt(2): switches `option` on.
#[track_caller]
pub fn setsockopt_on(fd: impl AsFd, option: SocketOption) -> Result<()> {
    let fd = fd.as_fd();
    let (SocketOption(level, name, text), on) = (option, 1);
    let size = size_of::<c_int>();
    let length = socklen_t::try_from(size).expect("it is small");
    // SAFETY: the descriptor is borrowed, so open; of each of these options the
    // value is an int, which lives through the call.
    let set = Errno::result(unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(fd.as_raw_fd(), level, name, value, length)
    });
    finish(set.map(drop), || {
        format!("setsockopt({}, {text}, [{on}], {size})", fd.text())
    })
}

/// See include/uapi/asm-generic/socket.h in the kernel's source,
/// `SO_NETNS_COOKIE`: the number of the network namespace in which the socket
/// `fd` was made. No other one gets it until the machine restarts. Since Linux
/// 5.14; `ENOPROTOOPT` before.
#[track_caller]
pub fn getsockopt_netns_cookie(fd: impl AsFd) -> Result<u64> {
    let fd = fd.as_fd();
    let mut cookie = 0_u64;
    let mut length = socklen_t::try_from(size_of::<u64>()).expect("small");
    // SAFETY: the descriptor is borrowed, so open; the kernel writes 8 bytes,
    // and both variables live through the call.
    let got = Errno::result(unsafe {
        let (level, name) = (libc::SOL_SOCKET, libc::SO_NETNS_COOKIE);
        let value = (&raw mut cookie).cast();
        libc::getsockopt(fd.as_raw_fd(), level, name, value, &raw mut length)
    });
    let option = Word("SOL_SOCKET, SO_NETNS_COOKIE".into());
    call!(getsockopt(fd, option), got.map(|_| cookie))
}

/// See send(2).
#[track_caller]
pub fn send(fd: impl AsFd, buf: &[u8], flags: MsgFlags) -> Result<usize> {
    let fd = fd.as_fd();
    let sent = socket::send(fd.as_raw_fd(), buf, flags);
    let size = buf.len();
    call!(send(fd, Word(quote(buf, SHOWN)), size, flags), sent)
}

/// See accept4(2). What is returned is closed at exec.
#[track_caller]
pub fn accept(fd: impl AsFd) -> Result<OwnedFd> {
    let fd = fd.as_fd();
    let flags = SockFlag::SOCK_CLOEXEC;
    let accepted = socket::accept4(fd.as_raw_fd(), flags);
    let (null, flags) = (Word("NULL".into()), Word("SOCK_CLOEXEC".into()));
    let accepted =
        call!(accept4(fd, null, Word("NULL".into()), flags), accepted)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(accepted) })
}

/// See recv(2).
#[track_caller]
pub fn recv(fd: impl AsFd, buf: &mut [u8], flags: MsgFlags) -> Result<usize> {
    let fd = fd.as_fd();
    let size = buf.len();
    let received = socket::recv(fd.as_raw_fd(), buf, flags);
    call!(recv(fd, Word("…".into()), size, flags), received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_another_kind_of_socket_is_refused() {
        let socket = socket(AddressFamily::Inet, SockType::Datagram);
        let socket = socket.expect("a socket");
        let error = setsockopt_on(&socket, TCP_NODELAY).expect_err("UDP");
        let fd = socket.as_raw_fd();
        assert_eq!(
            error.to_string(),
            format!("setsockopt({fd}, IPPROTO_TCP, TCP_NODELAY, [1], 4)")
        );
    }

    #[test]
    fn a_network_namespace_has_a_number() {
        let socket = || socket(AddressFamily::Unix, SockType::Datagram);
        let cookie =
            || getsockopt_netns_cookie(socket().expect("a socket")).ok();
        assert_eq!(cookie(), cookie());
        let null = std::fs::File::open("/dev/null").expect("it is there");
        let error = getsockopt_netns_cookie(&null).expect_err("no socket");
        let fd = null.as_raw_fd();
        assert_eq!(
            error.to_string(),
            format!("getsockopt({fd}</dev/null>, SOL_SOCKET, SO_NETNS_COOKIE)")
        );
    }
}
