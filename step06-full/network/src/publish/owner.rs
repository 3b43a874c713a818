//! Who has a port: asked only to say it in an error.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use common::host::passwd::User;

use super::port::Protocol;

/// The process that has the port, or its user where that is all that we may
/// know; nothing if it can't be found.
pub(super) fn of(protocol: Protocol, address: SocketAddr) -> Option<String> {
    let is_in_the_way = |it: &Waiting| {
        let any = it.ip.is_unspecified() || address.ip().is_unspecified();
        it.port == address.port() && (any || it.ip == address.ip())
    };
    let socket = waiting(protocol).into_iter().find(is_in_the_way)?;
    Some(process(socket.inode).unwrap_or_else(|| {
        let user = socket.user;
        let name =
            User::find(user).map_or_else(|| user.to_string(), |it| it.name);
        format!("a process of the user {name}")
    }))
}

/// The ports of this network that the process `pid` waits at.
pub(crate) fn ports_of(pid: i32) -> Vec<String> {
    let all = [(Protocol::Tcp, ""), (Protocol::Udp, "/udp")];
    let all = all.into_iter().flat_map(|(protocol, suffix)| {
        let sockets = waiting(protocol).into_iter();
        sockets.map(move |it| (it, suffix))
    });
    all.filter(|(it, _)| has(&pid.to_string(), it.inode))
        .map(|(it, suffix)| {
            format!("{}{suffix}", SocketAddr::new(it.ip, it.port))
        })
        .collect()
}

/// A socket that waits for somebody.
struct Waiting {
    ip: IpAddr,
    port: u16,
    user: u32,
    inode: u64,
}

/// All of them in this network. See proc(5), on `/proc/net/tcp`.
fn waiting(protocol: Protocol) -> Vec<Waiting> {
    let mut all = Vec::new();
    for version in ["", "6"] {
        let table = format!("/proc/net/{protocol}{version}");
        let table = fs::read_to_string(table).unwrap_or_default();
        all.extend(table.lines().skip(1).filter_map(socket));
    }
    all
}

fn socket(line: &str) -> Option<Waiting> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let (state, user, inode) = (fields.get(3)?, fields.get(7)?, fields.get(9)?);
    // A socket without a peer: one that listens (TCP_LISTEN), or one of UDP that
    // is not connected (TCP_CLOSE). See include/net/tcp_states.h.
    let waiting = Waiting {
        ip: parse(ip)?,
        port: u16::from_str_radix(port, 16).ok()?,
        user: user.parse().ok()?,
        inode: inode.parse().ok()?,
    };
    ["0A", "07"].contains(state).then_some(waiting)
}

/// Reads an address: words of 32 bits, each as this machine stores it.
fn parse(hex: &str) -> Option<IpAddr> {
    let words = hex.as_bytes().chunks(8).map(|word| {
        let word = str::from_utf8(word).ok()?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    });
    let words: Vec<[u8; 4]> = words.collect::<Option<_>>()?;
    match words[..] {
        [bytes] => Some(Ipv4Addr::from(bytes).into()),
        [_, _, _, _] => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// The process that has the socket open; only our own ones tell, and to root all.
fn process(inode: u64) -> Option<String> {
    let names = fs::read_dir("/proc").ok()?.flatten();
    let names = names.filter_map(|it| it.file_name().into_string().ok());
    let mut processes = names.filter(|it| it.parse::<u32>().is_ok());
    let process = processes.find(|it| has(it, inode))?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(format!("{:?} (process {process})", name.trim_end()))
}

fn has(process: &str, inode: u64) -> bool {
    let socket = format!("socket:[{inode}]");
    let descriptors = fs::read_dir(format!("/proc/{process}/fd"));
    descriptors.into_iter().flatten().flatten().any(|it| {
        fs::read_link(it.path()).is_ok_and(|it| it.as_os_str() == &*socket)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn who_listens_is_found() {
        let us = format!("(process {})", std::process::id());
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let address = listener.local_addr().expect("it is bound");
            let owner = of(Protocol::Tcp, address).expect("it is found");
            assert!(owner.ends_with(&us), "{owner}");
            assert_eq!(of(Protocol::Udp, address), None);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = socket.local_addr().expect("it is bound");
        let owner = of(Protocol::Udp, address).expect("it is found");
        assert!(owner.ends_with(&us), "{owner}");
    }
}
