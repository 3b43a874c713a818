//! A datagram with both of its addresses: a socket that is bound to all addresses
//! of this machine is told to which one it came, and may say from which one the
//! answer goes. See ip(7), `IP_PKTINFO`, and ipv6(7), `IPV6_RECVPKTINFO`.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo},
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage,
        recvmsg, sendmsg,
    },
};

use super::listen::Open;

/// A datagram: its length, who has sent it, and to which of our addresses.
pub(super) fn receive(
    door: &Open,
    buffer: &mut [u8],
) -> nix::Result<(usize, Option<SocketAddr>, Option<IpAddr>)> {
    let number = door.as_fd().as_raw_fd();
    let mut control = nix::cmsg_space!(in6_pktinfo);
    let mut buffers = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        number,
        &mut buffers,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let us = message.cmsgs()?.find_map(|it| match it {
        ControlMessageOwned::Ipv4PacketInfo(it) => {
            Some(IpAddr::from(it.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(it) => {
            Some(IpAddr::from(it.ipi6_addr.s6_addr))
        }
        _ => None,
    });
    let client = message.address.as_ref().and_then(address);
    Ok((message.bytes, client, us))
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let four = storage.as_sockaddr_in().map(|it| (*it).into());
    let six = || storage.as_sockaddr_in6().map(|it| (*it).into());
    four.map(SocketAddr::V4)
        .or_else(|| six().map(SocketAddr::V6))
}

/// Sends it from the address `us`.
pub(super) fn send_from(
    door: &Open,
    us: IpAddr,
    client: SocketAddr,
    datagram: &[u8],
) -> nix::Result<usize> {
    let (four, six);
    let from = match us {
        IpAddr::V4(us) => {
            let s_addr = u32::from_ne_bytes(us.octets());
            four = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr },
                ipi_addr: in_addr { s_addr: 0 },
            };
            ControlMessage::Ipv4PacketInfo(&four)
        }
        IpAddr::V6(us) => {
            six = in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: us.octets(),
                },
                ipi6_ifindex: 0,
            };
            ControlMessage::Ipv6PacketInfo(&six)
        }
    };
    sendmsg(
        door.as_fd().as_raw_fd(),
        &[IoSlice::new(datagram)],
        &[from],
        MsgFlags::MSG_DONTWAIT,
        Some(&SockaddrStorage::from(client)),
    )
}
