//! The interfaces of a network: what netdevice(7) asks of them by ioctl(2), and
//! netlink(7) by messages.

use std::{
    mem,
    os::fd::{AsFd, AsRawFd},
};

use libc::{Ioctl, c_char, c_int, c_short, ifreq};
use nix::{
    errno::Errno,
    sys::socket::{self, MsgFlags},
};

use super::{
    Result,
    argument::{Argument, Bits, Names, Word},
    call, finish,
};

/// See send(2), for a message of netlink(7), which is shown as the words of
/// `request`: its bytes tell nobody anything.
#[track_caller]
pub fn send_netlink(fd: impl AsFd, buf: &[u8], request: &str) -> Result<()> {
    let fd = fd.as_fd();
    let sent = socket::send(fd.as_raw_fd(), buf, MsgFlags::empty());
    let (size, request) = (buf.len(), Word(format!("{{{request}}}")));
    call!(send(fd, request, size, MsgFlags::empty()), sent.map(drop))
}

// A request is a long for glibc and an int for musl; these fit both.
#[allow(clippy::cast_possible_truncation, reason = "only with musl")]
const SIOCGIFFLAGS: Ioctl = libc::SIOCGIFFLAGS as Ioctl;
#[allow(clippy::cast_possible_truncation, reason = "only with musl")]
const SIOCSIFFLAGS: Ioctl = libc::SIOCSIFFLAGS as Ioctl;

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
