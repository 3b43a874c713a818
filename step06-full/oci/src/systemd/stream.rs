//! A stream of bytes from which nothing is read after a certain time.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// The stream, and until when it may be read. The kernel's own limit is for one
/// read(2) each, so that whoever says a word from time to time would keep us for
/// ever.
pub(super) struct Stream {
    stream: UnixStream,
    until: Instant,
}

impl Stream {
    pub(super) fn new(stream: UnixStream) -> Stream {
        Stream {
            stream,
            until: Instant::now(),
        }
    }

    /// It may be read for that long from now on.
    pub(super) fn wait(&mut self, patience: Duration) {
        self.until = Instant::now() + patience;
    }

    pub(super) fn socket(&self) -> &UnixStream {
        &self.stream
    }
}

impl Read for Stream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let rest = self.until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(rest))?;
        match self.stream.read(room) {
            // So the kernel says it. See SO_RCVTIMEO in socket(7).
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(ErrorKind::TimedOut.into())
            }
            read => read,
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
