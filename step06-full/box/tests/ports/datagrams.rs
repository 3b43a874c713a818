//! Datagrams find their way, and their way back.

use std::net::{SocketAddr, UdpSocket};

use harness::{LIMIT, Test, claims};

use crate::{
    container::{Container, User, users},
    lab::{HOST, HOST_6, LAN, Lab, tool},
};

pub(crate) const TESTS: &[Test] = claims![
    a_datagram_comes_back_to_who_has_sent_it,
    an_answer_comes_from_the_address_that_was_asked,
    there_is_always_room_for_one_more,
    a_server_at_one_address_only_is_found,
];

/// A socket that hears what comes from `address`, and nothing else.
fn client(from: &str, address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).expect("a port is free");
    socket.connect(address).expect("there is a way");
    socket.set_read_timeout(Some(*LIMIT)).expect("a time");
    socket
}

fn ask(socket: &UdpSocket, words: &str) -> std::io::Result<String> {
    socket.send(words.as_bytes())?;
    hear(socket)
}

fn hear(socket: &UdpSocket) -> std::io::Result<String> {
    let mut buffer = vec![0; 1 << 16];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn a_datagram_comes_back_to_who_has_sent_it() {
    for user in users() {
        let container = Container::start(user, &["-p", ":80/udp"]);
        let (inside, address) = container.chosen();
        assert_eq!(inside, "80/udp");
        let all = [(); 20].map(|()| client("127.0.0.1", address));
        for (number, socket) in all.iter().enumerate() {
            socket
                .send(number.to_string().as_bytes())
                .expect("it is open");
        }
        for (number, socket) in all.iter().enumerate() {
            assert_eq!(hear(socket).expect("an answer"), number.to_string());
        }
        assert_eq!(ask(&all[0], "twice").expect("an answer"), "twice");
        assert_eq!(hear(&all[0]).expect("another one"), "twice");
        let long = "x".repeat(60_000);
        assert_eq!(ask(&all[0], &long).expect("an answer"), long);
        assert_eq!(ask(&all[0], "").expect("an answer"), "");
    }
}

fn an_answer_comes_from_the_address_that_was_asked() {
    for user in users() {
        let lab = Lab::new();
        // The kernel would choose the first one.
        lab.host
            .run(|| tool("ip", "addr add 192.168.50.2/24 dev wan"));
        let _container = lab.host.run(|| {
            let ports = ["-p", "0.0.0.0:53:80/udp", "-p", "[::]:53:80/udp"];
            match user {
                User::Same => Container::start(user, &ports),
                User::Plain => {
                    let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
                    std::fs::write(file, "0").expect("root may");
                    Container::start(user, &ports)
                }
            }
        });
        let asked = |from: &str, address: &str| {
            let socket = client(from, address.parse().expect("an address"));
            ask(&socket, "hello").expect("an answer")
        };
        lab.lan.run(|| {
            assert_eq!(asked(LAN, &format!("{HOST}:53")), "hello");
            assert_eq!(asked(LAN, "192.168.50.2:53"), "hello");
            assert_eq!(asked("::", &format!("[{HOST_6}]:53")), "hello");
        });
        lab.host.run(|| {
            assert_eq!(asked("127.0.0.1", "127.0.0.1:53"), "hello");
            assert_eq!(asked("0.0.0.0", &format!("{HOST}:53")), "hello");
        });
    }
}

/// Whoever is silent makes room: nobody can fill the table.
fn there_is_always_room_for_one_more() {
    let options = ["-p", ":80/udp"];
    let container = Container::start_limited("ulimit -n 64", &options);
    let (_, address) = container.chosen();
    for number in 0..200 {
        let socket = client("127.0.0.1", address);
        let answer = ask(&socket, "hello").expect("an answer");
        assert_eq!(answer, "hello", "client {number}");
    }
}

fn a_server_at_one_address_only_is_found() {
    let options = ["-p", ":80/udp"];
    let container = Container::serving_at(User::Same, &options, "[::1]:80");
    let (_, address) = container.chosen();
    let socket = client("127.0.0.1", address);
    assert_eq!(ask(&socket, "hello").expect("an answer"), "hello");
}
