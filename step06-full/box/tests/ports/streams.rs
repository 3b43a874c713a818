//! Connections are passed on as they are.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
};

use harness::{LIMIT, Test, claims, host, needs, wait_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    container::{Container, User, users},
    lab::Machine,
    server::{ask, connect, reset},
};

pub(crate) const TESTS: &[Test] = claims![
    each_direction_ends_for_itself,
    a_reset_is_passed_on,
    nothing_is_lost_or_exchanged,
    a_reader_that_is_slow_costs_no_memory,
    thousands_have_a_connection_at_once,
    whoever_finds_no_room_waits,
    a_connection_that_the_server_has_forgotten_is_none,
    nobody_is_connected_with_himself,
];

fn started(user: User, ports: &str) -> (Container, SocketAddr) {
    let container = Container::start(user, &["-p", ports]);
    let (_, address) = container.chosen();
    (container, address)
}

fn say(mut stream: &TcpStream, words: &str) {
    writeln!(stream, "{words}").expect("it is connected");
}

fn hear(stream: &TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

/// What the server has seen last, when there is something.
fn last(address: SocketAddr) -> String {
    wait_until("what the server has seen", || {
        ask(address, "last").ok().filter(|it| !it.is_empty())
    })
}

fn each_direction_ends_for_itself() {
    for user in users() {
        let (_container, address) = started(user, ":80");
        // The client has ended, and hears the answer.
        let mut client = connect(address).expect("it is open");
        say(&client, "count");
        client
            .write_all(&vec![b'x'; 3_000_000])
            .expect("it is open");
        client.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(hear(&client), "Ok(3000000)");
        // The server has ended, and hears the rest.
        let mut client = connect(address).expect("it is open");
        say(&client, "bye");
        let mut heard = String::new();
        client.read_to_string(&mut heard).expect("its end");
        assert_eq!(heard, "bye\n");
        say(&client, "still here");
        drop(client);
        assert_eq!(last(address), "still here");
    }
}

fn a_reset_is_passed_on() {
    let (_container, address) = started(User::Same, ":80");
    let mut client = connect(address).expect("it is open");
    say(&client, "reset");
    let error = client.read(&mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let client = connect(address).expect("it is open");
    say(&client, "hear");
    assert_eq!(hear(&client), "listening");
    reset(&client);
    drop(client);
    assert_eq!(last(address), "connection reset");
}

/// Many at once, each with bytes of its own.
fn nothing_is_lost_or_exchanged() {
    let (_container, address) = started(User::Same, ":80");
    thread::scope(|scope| {
        for number in 0..16_u32 {
            scope.spawn(move || {
                let client = connect(address).expect("it is open");
                say(&client, "echo");
                let bytes: Vec<u8> = (0..500_000_u32)
                    .map(|at| (at.wrapping_mul(number + 1) >> 3).to_le_bytes())
                    .map(|it| it[0])
                    .collect();
                let mut back = Vec::new();
                thread::scope(|scope| {
                    scope.spawn(|| {
                        (&client).write_all(&bytes).expect("it is open");
                        client.shutdown(Shutdown::Write).expect("it is open");
                    });
                    (&client).read_to_end(&mut back).expect("all of it");
                });
                assert!(back == bytes, "connection {number}");
            });
        }
    });
}

fn kilobytes(pid: i32) -> u64 {
    let text = host::status(pid, "VmRSS");
    let number = text.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}

fn a_reader_that_is_slow_costs_no_memory() {
    let (container, address) = started(User::Same, ":80");
    let publisher = container.publisher();
    let before = kilobytes(publisher);
    let clients: Vec<TcpStream> = (0..50)
        .map(|_| {
            let client = connect(address).expect("it is open");
            say(&client, "give 1000000000");
            client
        })
        .collect();
    for mut client in &clients {
        client.read_exact(&mut [0; 1000]).expect("it has begun");
    }
    // Others are served meanwhile.
    assert_eq!(ask(address, "hello").expect("an answer"), "hello");
    let more = kilobytes(publisher).saturating_sub(before);
    assert!(more < 4096, "{more} kB more");
}

/// As many as this process can have.
fn thousands_have_a_connection_at_once() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it may be raised");
    let number = usize::try_from(most).expect("a number").min(3200) - 200;
    for user in users() {
        let (container, address) = started(user, ":81");
        let clients: Vec<TcpStream> = (0..number)
            .map(|_| connect(address).expect("there is room"))
            .collect();
        for (number, client) in clients.iter().enumerate() {
            say(client, &number.to_string());
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(hear(client), number.to_string());
        }
        drop(clients);
        // Nothing of it is kept.
        let files = format!("/proc/{}/fd", container.publisher());
        let Ok(_) = fs::read_dir(&files) else {
            continue;
        };
        wait_until("the end of all of them", || {
            let open = fs::read_dir(&files).ok()?.count();
            (open < 10).then_some(())
        });
    }
}

/// A process that may open few files passes on few connections at a time.
fn whoever_finds_no_room_waits() {
    let container = Container::start_limited("ulimit -n 64", &["-p", ":81"]);
    let (_, address) = container.chosen();
    let mut clients = Vec::new();
    for number in 0..60 {
        let client = connect(address).expect("the kernel lets them wait");
        say(&client, &number.to_string());
        clients.push(client);
    }
    for (number, client) in clients.into_iter().enumerate() {
        // Who has had the answer makes room.
        assert_eq!(hear(&client), number.to_string());
    }
}

/// Or whoever opens connections, and never closes one, would take all room.
fn a_connection_that_the_server_has_forgotten_is_none() {
    needs::root();
    let (container, address) = started(User::Same, ":80");
    Machine::of(container.init()).run(|| {
        // How long a kernel remembers a connection that it has closed.
        let limit = "/proc/sys/net/ipv4/tcp_fin_timeout";
        fs::write(limit, "1").expect("root may");
    });
    let mut client = connect(address).expect("it is open");
    client.set_read_timeout(Some(*LIMIT)).expect("a time");
    say(&client, "hello");
    assert_eq!(hear(&client), "hello");
    // The end of its direction is an end of file. Ours is still open.
    assert_eq!(client.read(&mut [0]).expect("its end"), 0);
    let files = format!("/proc/{}/fd", container.publisher());
    wait_until("the end of the connection", || {
        let open = fs::read_dir(&files).expect("root may").count();
        (open == 5).then_some(())
    });
}

/// Whoever connects gets a port of his own, by chance the very one that he looks
/// for: then TCP connects him with himself, and no server can ever listen there.
fn nobody_is_connected_with_himself() {
    needs::root();
    let (container, address) = started(User::Same, ":40001");
    Machine::of(container.init()).run(|| {
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        fs::write(range, "40000 40001").expect("root may");
    });
    for _ in 0..50 {
        let heard = connect(address).and_then(|mut client| {
            // It may be over before this.
            let _ = writeln!(&client, "hello");
            client.read(&mut [0])
        });
        assert!(heard.is_err() || heard.is_ok_and(|it| it == 0));
    }
}
