//! A network namespace with nothing in it but the loopback interface.
//!
//! The namespace comes with `CLONE_NEWNET`: no interface of the host, no
//! route, no firewall rule, no port in use. `lo` exists in it but is down. See
//! network_namespaces(7), netdevice(7).

use anyhow::Context;
use common::sys;
use nix::sys::socket::{AddressFamily, SockType};

/// Turns on `lo`, so that a server in the container can be reached from within
/// it; the kernel gives it 127.0.0.1 and ::1 by itself.
///
/// Must run in a network namespace of its own, as its root; otherwise this is
/// the host's `lo`, which is up already. See netdevice(7).
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the network namespace.
pub fn loopback_up() -> anyhow::Result<()> {
    turn_on("lo").context("turning on the loopback interface")
}

fn turn_on(interface: &str) -> sys::Result<()> {
    // Interfaces are configured through a socket, any socket: it only tells
    // the kernel which network namespace is meant.
    let socket = sys::socket(AddressFamily::Inet, SockType::Datagram)?;
    // The rest of the flags is written back as it was.
    let flags = sys::ioctl_siocgifflags(&socket, interface)?;
    sys::ioctl_siocsifflags(&socket, interface, flags | libc::IFF_UP)
}
