//! Sockets, and the interfaces that are set up through them.

use std::{
    io::IoSliceMut,
    mem,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use libc::{Ioctl, c_char, c_int, c_short, ifreq};
use nix::{
    errno::Errno,
    sys::socket::{
        self, AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType,
        UnixCredentials, sockopt,
    },
};

use super::{
    Result,
    argument::{Argument, Bits, Names, SHOWN, Word, quote},
    call, finish,
};

/// See socket(2). The socket is closed at exec.
#[track_caller]
pub fn socket(domain: AddressFamily, kind: SockType) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    finish(socket::socket(domain, kind, flags, None), || {
        let domain = match domain {
            AddressFamily::Inet => "AF_INET",
            AddressFamily::Unix => "AF_UNIX",
            _ => "AF_...",
        };
        let kind = kind_name(kind);
        format!("socket({domain}, {kind}|SOCK_CLOEXEC, 0)")
    })
}

// A request is a long for glibc and an int for musl; these fit both.
#[allow(clippy::cast_possible_truncation, reason = "only with musl")]
const SIOCGIFFLAGS: Ioctl = libc::SIOCGIFFLAGS as Ioctl;
#[allow(clippy::cast_possible_truncation, reason = "only with musl")]
const SIOCSIFFLAGS: Ioctl = libc::SIOCSIFFLAGS as Ioctl;

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
        _ => "SOCK_...",
    }
}

/// See socket(7) and unix(7), `SO_PASSCRED`: whoever receives something at `fd`
/// gets to know the sender as well.
#[track_caller]
pub fn setsockopt_passcred(fd: impl AsFd) -> Result<()> {
    let fd = fd.as_fd();
    let set = socket::setsockopt(&fd, sockopt::PassCred, &true);
    let name = "SOL_SOCKET, SO_PASSCRED, [1], 4";
    call!(setsockopt(fd, Word(name.into())), set)
}

/// See send(2).
#[track_caller]
pub fn send(fd: impl AsFd, buf: &[u8], flags: MsgFlags) -> Result<usize> {
    let fd = fd.as_fd();
    let sent = socket::send(fd.as_raw_fd(), buf, flags);
    let size = buf.len();
    call!(send(fd, Word(quote(buf, SHOWN)), size, flags), sent)
}

/// See recv(2).
#[track_caller]
pub fn recv(fd: impl AsFd, buf: &mut [u8], flags: MsgFlags) -> Result<usize> {
    let fd = fd.as_fd();
    let size = buf.len();
    let received = socket::recv(fd.as_raw_fd(), buf, flags);
    call!(recv(fd, Word("…".into()), size, flags), received)
}

/// See recvmsg(2): the length of the message, and who has sent it, if the socket
/// tells ([`setsockopt_passcred`]).
#[track_caller]
pub fn recvmsg_with_sender(
    fd: impl AsFd,
    buf: &mut [u8],
) -> Result<(usize, Option<UnixCredentials>)> {
    let fd = fd.as_fd();
    let mut control = nix::cmsg_space!(UnixCredentials);
    let flags = MsgFlags::empty();
    let mut buffers = [IoSliceMut::new(buf)];
    let number = fd.as_raw_fd();
    let received =
        socket::recvmsg::<()>(number, &mut buffers, Some(&mut control), flags);
    let read = received.and_then(|message| {
        let sender = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(sender) => Some(sender),
            _ => None,
        });
        Ok((message.bytes, sender))
    });
    call!(recvmsg(fd, Word("…".into()), flags), read)
}

/// See netdevice(7), `SIOCGIFFLAGS`: the flags (`libc::IFF_…`) of the interface
/// that is called so in the network namespace of the socket `fd`.
#[track_caller]
pub fn ioctl_siocgifflags(fd: impl AsFd, ifr_name: &str) -> Result<c_int> {
    let fd = fd.as_fd();
    let mut request = request(ifr_name);
    // SAFETY: the descriptor is open, and for SIOCGIFFLAGS the kernel reads the
    // name from an ifreq and writes the flags into it.
    let read = Errno::result(unsafe {
        libc::ioctl(fd.as_raw_fd(), SIOCGIFFLAGS, &mut request)
    });
    finish(read, || {
        let fd = fd.text();
        let request = format!("{{ifr_name={ifr_name:?}}}");
        format!("ioctl({fd}, SIOCGIFFLAGS, {request})")
    })?;
    // SAFETY: the kernel has just filled in this field of the union.
    Ok(unsafe { request.ifr_ifru.ifru_flags }.into())
}

/// See netdevice(7), `SIOCSIFFLAGS`: sets all flags of an interface.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the network namespace.
#[track_caller]
pub fn ioctl_siocsifflags(
    fd: impl AsFd,
    ifr_name: &str,
    ifr_flags: c_int,
) -> Result<()> {
    let fd = fd.as_fd();
    let mut request = request(ifr_name);
    let flags = c_short::try_from(ifr_flags).map_err(|_| Errno::EINVAL);
    let set = flags.and_then(|flags| {
        request.ifr_ifru.ifru_flags = flags;
        // SAFETY: the descriptor is open, and for SIOCSIFFLAGS the kernel only
        // reads the name and the flags from an ifreq.
        Errno::result(unsafe {
            libc::ioctl(fd.as_raw_fd(), SIOCSIFFLAGS, &request)
        })
    });
    finish(set.map(drop), || {
        let (fd, flags) = (fd.text(), Bits::of(ifr_flags, FLAGS).text());
        let request = format!("{{ifr_name={ifr_name:?}, ifr_flags={flags}}}");
        format!("ioctl({fd}, SIOCSIFFLAGS, {request})")
    })
}

const FLAGS: Names = &[
    ("IFF_UP", libc::IFF_UP as u64),
    ("IFF_LOOPBACK", libc::IFF_LOOPBACK as u64),
    ("IFF_RUNNING", libc::IFF_RUNNING as u64),
];

/// The interface's name, as much of it as there is room for, and zeros.
fn request(ifr_name: &str) -> ifreq {
    // SAFETY: an ifreq holds only integers, and a pointer that may be null; all
    // zeroes is a value of each.
    let mut request: ifreq = unsafe { mem::zeroed() };
    // The last byte stays NUL.
    let (_, room) = request.ifr_name.split_last_mut().expect("it is not empty");
    for (byte, letter) in room.iter_mut().zip(ifr_name.bytes()) {
        *byte = c_char::from_ne_bytes([letter]);
    }
    request
}
