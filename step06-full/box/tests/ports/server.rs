//! What runs in the container: a server that does what its clients say.

use std::{
    fmt::Display,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::Mutex,
    thread,
    time::Duration,
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{setsockopt, sockopt},
    },
};

/// What makes this program the server.
pub(crate) const WORD: &str = "serve-as-you-are-told";

/// How long a server of a test waits for somebody else.
const PATIENCE: Duration = Duration::from_secs(3);

/// The port at which thousands may have a connection each.
const CROWD: u16 = 81;

/// What the last connection has seen that had no way to say it.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Listens at `address`, by TCP and by UDP, and says so.
pub(crate) fn serve(address: &str) -> ! {
    let listener = TcpListener::bind(address).expect("the port is free");
    let socket = UdpSocket::bind(address).expect("the port is free");
    thread::spawn(move || echo(&socket));
    let mut other = listener.local_addr().expect("it is bound");
    other.set_port(CROWD);
    let crowd = TcpListener::bind(other).expect("the port is free");
    thread::spawn(move || serve_a_crowd(&crowd));
    println!("ready");
    loop {
        let (client, _) = listener.accept().expect("a client");
        thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || obey(client))
            .expect("a thread");
    }
}

/// Sends back each datagram; one that says so, twice.
fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 1 << 16];
    loop {
        let Ok((length, sender)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let datagram = &buffer[..length];
        let times = if datagram == b"twice" { 2 } else { 1 };
        for _ in 0..times {
            let _ = socket.send_to(datagram, sender);
        }
    }
}

/// Sends back what comes, to all in one thread.
fn serve_a_crowd(listener: &TcpListener) {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("it has a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("we may");
    listener.set_nonblocking(true).expect("it is a socket");
    let mut clients: Vec<TcpStream> = Vec::new();
    loop {
        let sockets = clients.iter().map(AsFd::as_fd);
        let sockets = [listener.as_fd()].into_iter().chain(sockets);
        let mut polled: Vec<PollFd> = sockets
            .map(|it| PollFd::new(it, PollFlags::POLLIN))
            .collect();
        poll(&mut polled, PollTimeout::NONE).expect("poll");
        let spoke: Vec<bool> =
            polled.iter().map(|it| it.any() == Some(true)).collect();
        for index in (0..clients.len()).rev() {
            let mut buffer = [0; 512];
            if spoke[index + 1] {
                match clients[index].read(&mut buffer) {
                    Ok(length @ 1..) => {
                        let _ = clients[index].write_all(&buffer[..length]);
                    }
                    _ => drop(clients.swap_remove(index)),
                }
            }
        }
        if spoke[0] {
            // All that wait; the last one is none.
            let waiting = std::iter::from_fn(|| listener.accept().ok());
            clients.extend(waiting.map(|(client, _)| client));
        }
    }
}

/// The first line says what is to be done with the rest.
fn obey(client: TcpStream) {
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let client = reader.get_ref().try_clone().expect("a copy");
    let (word, argument) = line.trim().split_once(' ').unwrap_or((&line, ""));
    match word.trim() {
        "hello" => say(&client, "hello"),
        "echo" => drop(io::copy(&mut reader, &mut &client)),
        // Only when the other side has ended, it speaks.
        "count" => {
            let mut bytes = Vec::new();
            let read = reader.read_to_end(&mut bytes);
            say(&client, format!("{read:?}"));
        }
        "give" => give(&client, argument.parse().expect("a number")),
        "take" => {
            let mut taken = vec![0; argument.parse().expect("a number")];
            let _ = reader.read_exact(&mut taken);
        }
        // It ends its own direction, and hears what else there is.
        "bye" => {
            say(&client, "bye");
            client.shutdown(Shutdown::Write).expect("it is connected");
            let mut rest = String::new();
            remember(reader.read_to_string(&mut rest).map(|_| rest));
        }
        "hear" => {
            say(&client, "listening");
            remember(reader.read(&mut [0; 64]).map(|it| it.to_string()));
        }
        "last" => say(&client, LAST.lock().expect("nobody has failed")),
        "stall" => thread::sleep(Duration::from_secs(60)),
        "reset" => reset(&client),
        "peer" => say(&client, client.peer_addr().expect("it has one").ip()),
        "try" => say(&client, attempt(argument)),
        word => say(&client, format!("what is {word:?}?")),
    }
}

fn remember(heard: io::Result<String>) {
    let text = heard.unwrap_or_else(|error| error.kind().to_string());
    *LAST.lock().expect("nobody has failed") = text;
}

fn say(mut client: &TcpStream, text: impl Display) {
    let _ = writeln!(client, "{text}");
}

fn give(mut client: &TcpStream, mut length: usize) {
    let bytes = vec![b'x'; 1 << 20];
    while length > 0 {
        let part = length.min(bytes.len());
        if client.write_all(&bytes[..part]).is_err() {
            return;
        }
        length -= part;
    }
}

/// Ends a connection as if something had been lost.
pub(crate) fn reset(client: &TcpStream) {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(client, sockopt::Linger, &at_once).expect("a socket");
    // Whoever closes it last does it.
}

/// What a client gets at `address`: an answer to "hello", or an error.
pub(crate) fn attempt(address: &str) -> String {
    let address: SocketAddr = address.parse().expect("an address");
    ask(address, "hello").unwrap_or_else(|error| error.kind().to_string())
}

/// The first line of the answer to `words`.
pub(crate) fn ask(address: SocketAddr, words: &str) -> io::Result<String> {
    let mut stream = connect(address)?;
    writeln!(stream, "{words}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// A connection in which nothing takes for ever.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
