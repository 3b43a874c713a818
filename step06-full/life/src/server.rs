//! The way to a monitor: a socket in the container's directory.
//!
//! A request is a line. The answer is a line, too, and descriptors come along
//! with it:
//!
//! ```text
//! namespaces          ok          user pid mnt net uts ipc
//! anything else       error TEXT
//! ```
//!
//! A request may go on after the answer, in whatever form it wants: the
//! connection is its own.

use std::{
    fs,
    io::ErrorKind,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use common::{
    host::{files::by_number, paths::open_directory},
    sys,
};
use nix::unistd::geteuid;

use crate::{
    Namespaces,
    helper::Helper,
    threshold::{A_WHILE, Crossed},
};

const SOCKET: &str = "socket";

/// How long a line may be.
const LINE_MAX: usize = 4096;

/// How long anybody may take for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens the socket in `dir`.
pub(crate) fn listen(dir: &Path) -> anyhow::Result<UnixListener> {
    listen_as(dir, SOCKET)
}

/// Opens one that is called `name`.
pub(crate) fn listen_as(
    dir: &Path,
    name: &str,
) -> anyhow::Result<UnixListener> {
    // The path of a socket has no more than 108 bytes; this one is short
    // wherever the directory is. See unix(7).
    let directory = open_directory(dir)?;
    let path = by_number(&directory).join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed.with_context(|| format!("unlink({path:?})"))?,
    }
    let listener = UnixListener::bind(&path);
    listener.with_context(|| format!("bind({:?})", dir.join(name)))
}

/// The helper that answers.
pub(crate) fn helper(
    listener: UnixListener,
    namespaces: Namespaces,
    crossed: Crossed,
) -> anyhow::Result<Helper> {
    let mut kept: Vec<RawFd> =
        namespaces.list().iter().map(AsRawFd::as_raw_fd).collect();
    kept.extend([listener.as_raw_fd(), crossed.number()]);
    Helper::start(kept, move || {
        loop {
            let (connection, _) = listener.accept().context("accept(2)")?;
            // Whoever hangs up, or asks for nonsense, has not harmed others.
            let _ = answer(&connection, &namespaces, &crossed);
        }
    })
}

fn answer(
    connection: &UnixStream,
    namespaces: &Namespaces,
    crossed: &Crossed,
) -> anyhow::Result<()> {
    check_peer(connection)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let (request, _) = receive(connection)?;
    match request.as_str() {
        "namespaces" => match crossed.wait() {
            Ok(()) => send(connection, "ok", &namespaces.list()),
            Err(error) => send(connection, &format!("error {error}"), &[]),
        },
        _ => send(connection, "error there is no such request", &[]),
    }
}

/// The directory is closed to others. This is for those who were in it when it
/// was not.
pub(crate) fn check_peer(connection: &UnixStream) -> anyhow::Result<()> {
    let peer = sys::getsockopt_peercred(connection)?;
    let ours = geteuid().as_raw();
    ensure!([0, ours].contains(&peer.uid()), "user {} asks", peer.uid());
    Ok(())
}

/// Connects to the socket in `dir` that is called `name`.
pub(crate) fn connect(dir: &Path, name: &str) -> anyhow::Result<UnixStream> {
    let directory = open_directory(dir)?;
    let path = by_number(&directory).join(name);
    UnixStream::connect(&path)
        .with_context(|| format!("connect({:?})", dir.join(name)))
}

/// Asks the monitor of the container that has `dir`; returns what has come
/// along with its answer, and the connection.
pub(crate) fn ask(
    dir: &Path,
    request: &str,
) -> anyhow::Result<(Vec<OwnedFd>, UnixStream)> {
    let connection = connect(dir, SOCKET)?;
    connection.set_read_timeout(Some(PATIENCE + A_WHILE))?;
    send(&connection, request, &[])?;
    let (answer, descriptors) = receive(&connection)?;
    connection.set_read_timeout(None)?;
    match answer.split_once(' ').unwrap_or((&answer, "")) {
        ("ok", _) => Ok((descriptors, connection)),
        ("error", text) => bail!("the container's monitor says: {text}"),
        _ => bail!("the container's monitor says nothing"),
    }
}

fn send(
    connection: &UnixStream,
    line: &str,
    descriptors: &[BorrowedFd],
) -> anyhow::Result<()> {
    let line = format!("{line}\n");
    sys::sendmsg_with_fds(connection, line.as_bytes(), descriptors)?;
    Ok(())
}

/// A line, and what has come along with it.
fn receive(connection: &UnixStream) -> anyhow::Result<(String, Vec<OwnedFd>)> {
    let mut line = Vec::new();
    let mut descriptors = Vec::new();
    // By bytes: what is behind the line is not for us.
    while line.last() != Some(&b'\n') {
        ensure!(line.len() < LINE_MAX, "a line is too long");
        let mut byte = [0];
        let (length, more) = sys::recvmsg_with_fds(connection, &mut byte)?;
        descriptors.extend(more);
        ensure!(length == 1, "the other side has hung up");
        line.push(byte[0]);
    }
    line.pop();
    Ok((String::from_utf8(line)?, descriptors))
}
