//! A network namespace with nothing in it but the loopback interface.
//!
//! The namespace comes with `CLONE_NEWNET`: no interface of the host, no
//! route, no firewall rule, no port in use. `lo` exists in it but is down. See
//! network_namespaces(7), netdevice(7).

use std::mem;
use std::os::fd::AsRawFd;

use anyhow::Context;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

// The numbers of these requests are older than the scheme that says in a number
// which way the data goes, and how much: hence "bad". See ioctl_list(2).
nix::ioctl_readwrite_bad!(
    /// Reads the flags of the interface that the `ifreq` names.
    get_flags, libc::SIOCGIFFLAGS, libc::ifreq
);
nix::ioctl_write_ptr_bad!(
    /// Sets the flags of the interface that the `ifreq` names.
    set_flags, libc::SIOCSIFFLAGS, libc::ifreq
);

/// Turns on `lo`, so that a server in the container can be reached from within
/// it; the kernel gives it 127.0.0.1 and ::1 by itself.
///
/// Must run in a network namespace of its own, as its root; otherwise this is
/// the host's `lo`, which is up already.
///
/// Errors: `EPERM` without CAP_NET_ADMIN over the network namespace. See
/// netdevice(7).
pub fn loopback_up() -> anyhow::Result<()> {
    turn_on("lo").context("turning on the loopback interface")
}

fn turn_on(interface: &str) -> anyhow::Result<()> {
    // Interfaces are configured through a socket, any socket: it only tells
    // the kernel which network namespace is meant.
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .context("socket(AF_INET, SOCK_DGRAM)")?;

    // SAFETY: an ifreq holds only integers, and a pointer that may be null;
    // all zeroes is a value of each.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (byte, letter) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *byte = letter as libc::c_char;
    }

    // SAFETY: the descriptor is open, and for SIOCGIFFLAGS the kernel reads
    // the name from an ifreq and writes the flags into it.
    unsafe { get_flags(socket.as_raw_fd(), &mut request) }
        .with_context(|| format!("ioctl(SIOCGIFFLAGS, {interface:?})"))?;

    // The rest of the flags is written back as it was.
    // SAFETY: the kernel has just filled in this field of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;

    // SAFETY: the descriptor is open, and for SIOCSIFFLAGS the kernel only
    // reads the name and the flags from an ifreq.
    unsafe { set_flags(socket.as_raw_fd(), &request) }.with_context(|| {
        format!("ioctl(SIOCSIFFLAGS, {interface:?}, IFF_UP)")
    })?;
    Ok(())
}
