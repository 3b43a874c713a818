//! What runs at both ends of a connection.
#![allow(unsafe_code)]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, SockaddrIn, bind, sendto},
};

/// What this program is called where it was started for this and not to test: no
/// word behind its name says so, since each could be that of a test.
pub(crate) const NAME: &str = "probe";

/// Whether it is called so, by this first of the arguments.
pub(crate) fn is_meant(program: &str) -> bool {
    Path::new(program).file_name() == Some(NAME.as_ref())
}

pub(crate) fn main(arguments: &[String]) -> ExitCode {
    match arguments {
        [word, addresses @ ..] if word == "serve" => serve(addresses),
        [word, addresses @ ..] if word == "reach" => reach(addresses),
        [word, other] if word == "pretend" => pretend(other),
        [word, address] if word == "stray" => stray(address),
        _ => panic!("serve or reach ADDRESS..., pretend or stray ADDRESS"),
    }
    ExitCode::SUCCESS
}

/// Tells everybody who connects who that is.
fn serve(addresses: &[String]) {
    let serve = |address: &String| {
        let listener = TcpListener::bind(address).expect("the port is free");
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let peer = client.peer_addr().map(|it| it.ip().to_string());
                let _ = write!(client, "{}", peer.unwrap_or_default());
            }
        })
    };
    let all: Vec<_> = addresses.iter().map(serve).collect();
    for one in all {
        one.join().expect("it goes on");
    }
}

/// A line for each: `ADDRESS as WHOM`, or `ADDRESS no`.
fn reach(addresses: &[String]) {
    let all = addresses.iter().cloned().map(|address| {
        thread::spawn(move || {
            let says = connect(&address).unwrap_or_default();
            match says.is_empty() {
                true => format!("{address} no"),
                false => format!("{address} as {says}"),
            }
        })
    });
    let all: Vec<_> = all.collect();
    for one in all {
        println!("{}", one.join().expect("a line"));
    }
}

fn connect(address: &str) -> Option<String> {
    let patience = Duration::from_millis(1500);
    let address: SocketAddr = address.parse().expect("an address");
    let mut server = TcpStream::connect_timeout(&address, patience).ok()?;
    server.set_read_timeout(Some(patience)).ok()?;
    let mut says = String::new();
    server.read_to_string(&mut says).ok()?;
    Some(says)
}

/// Sends from `lan` what belongs to no connection: a RST, SYN with FIN, nothing,
/// and an ACK.
fn stray(address: &str) {
    let to: SocketAddrV4 = address.parse().expect("an address");
    let raw = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP);
    let raw = raw.expect("we are root");
    for flags in [0x04, 0x03, 0x00, 0x10] {
        let segment = segment(to, flags);
        let to = SockaddrIn::from(to);
        let sent = sendto(raw.as_raw_fd(), &segment, &to, MsgFlags::empty());
        sent.expect("there is a way");
    }
}

/// A header of TCP: ports, two numbers, its length and the flags, the window,
/// the checksum. A wrong one would be a reason of its own to drop it.
fn segment(to: SocketAddrV4, flags: u8) -> [u8; 20] {
    let mut segment = [0; 20];
    segment[..2].copy_from_slice(&4000_u16.to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[12..14].copy_from_slice(&[0x50, flags]);
    let (from, to) = ([192, 168, 50, 9], to.ip().octets());
    let summed = [&from[..], &to, &[0, 6, 0, 20], &segment].concat();
    let words = summed.chunks_exact(2);
    let sum: u32 = words
        .map(|it| u32::from(it[0]) << 8 | u32::from(it[1]))
        .sum();
    let sum = ((sum & 0xffff) + (sum >> 16)).to_be_bytes();
    segment[16..18].copy_from_slice(&[!sum[2], !sum[3]]);
    segment
}

/// Tries to be `other` on the network, in every way that needs no tool.
fn pretend(other: &str) {
    let other: Ipv4Addr = other.parse().expect("an address");
    let (inet, packet) = (libc::AF_INET, libc::AF_PACKET);
    say("raw", socket(inet, libc::SOCK_RAW, libc::IPPROTO_RAW));
    say("packet", socket(packet, libc::SOCK_RAW, 0x0300));
    let udp = socket(inet, libc::SOCK_DGRAM, 0).expect("everybody may");
    say("transparent", set(&udp, libc::IP_TRANSPARENT));
    say("from", send_as(&udp, other));
    let tun = std::fs::File::open("/dev/net/tun");
    println!("tun {}", if tun.is_ok() { "yes" } else { "no" });
    say("address", interface(libc::SIOCSIFADDR as libc::Ioctl, 2));
    say("hardware", interface(libc::SIOCSIFHWADDR as libc::Ioctl, 1));
}

fn say<T>(what: &str, done: nix::Result<T>) {
    match done {
        Ok(_) => println!("{what} yes"),
        Err(errno) => println!("{what} {errno:?}"),
    }
}

fn socket(family: i32, kind: i32, protocol: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes three integers.
    let made = Errno::result(unsafe { libc::socket(family, kind, protocol) })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

fn set(socket: &OwnedFd, option: i32) -> nix::Result<()> {
    let on = 1_i32;
    // SAFETY: the call reads an integer, as long as it says.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            option,
            (&raw const on).cast(),
            4,
        )
    };
    Errno::result(set).map(drop)
}

/// A socket may be bound to an address that is not there, if it says so. To send
/// from there is something else.
fn send_as(socket: &OwnedFd, other: Ipv4Addr) -> nix::Result<usize> {
    set(socket, libc::IP_FREEBIND)?;
    let from = SockaddrIn::from(SocketAddrV4::new(other, 7));
    bind(socket.as_raw_fd(), &from)?;
    let to = SockaddrIn::from(SocketAddrV4::new([10, 88, 77, 1].into(), 7));
    sendto(socket.as_raw_fd(), b"!", &to, MsgFlags::empty())
}

/// Changes an address of `eth0`.
fn interface(request: libc::Ioctl, family: u16) -> nix::Result<()> {
    let any = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: an ifreq is integers, and a pointer that may be null.
    let mut asked: libc::ifreq = unsafe { std::mem::zeroed() };
    for (byte, letter) in asked.ifr_name.iter_mut().zip(b"eth0") {
        *byte = letter.cast_signed();
    }
    // AF_INET, or ARPHRD_ETHER for one of the hardware.
    asked.ifr_ifru.ifru_addr.sa_family = family;
    // SAFETY: the descriptor is open, and the kernel reads an ifreq.
    Errno::result(unsafe { libc::ioctl(any.as_raw_fd(), request, &asked) })
        .map(drop)
}
