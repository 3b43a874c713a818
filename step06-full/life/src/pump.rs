//! The pump: from what a container prints to its log.
//!
//! The container could do without it, and write to a file itself; but then it
//! could fill the disk, or empty the file. The pump is a process of ours, a
//! helper of the monitor, and it ends by the pipes' end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    mem::take,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use anyhow::Context;
use common::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::{
    Instant, Stream,
    helper::Helper,
    log::{LOG, OLDER, SIZE_MAX},
    streams::Ends,
};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// What a line of the log may hold, as with Docker.
const PIECE: usize = 16 * 1024;

/// The pump, which writes what comes out of `ends` to the log in `dir`.
pub(crate) fn helper(ends: Ends, dir: PathBuf) -> anyhow::Result<Helper> {
    let kept = ends.iter().map(AsRawFd::as_raw_fd).collect();
    Helper::start(kept, move || pump(&ends, &mut Writer::new(&dir)))
}

/// Until both ends have come to theirs.
fn pump(ends: &Ends, writer: &mut Writer) -> anyhow::Result<()> {
    let mut open = vec![(&ends[0], Stream::Stdout), (&ends[1], Stream::Stderr)];
    let mut chunk = vec![0; CHUNK];
    while !open.is_empty() {
        let ends = open.iter().map(|(end, _)| end.as_fd());
        let polled = ends.map(|end| PollFd::new(end, PollFlags::POLLIN));
        let mut polled: Vec<PollFd> = polled.collect();
        sys::poll(&mut polled, PollTimeout::NONE)?;
        let ready = polled.iter().map(|it| it.any().unwrap_or(false));
        let ready: Vec<bool> = ready.collect();
        let mut over = Vec::new();
        for (index, _) in ready.iter().enumerate().filter(|(_, it)| **it) {
            let (end, stream) = open[index];
            match sys::read(end, &mut chunk)? {
                0 => over.push(index),
                length => writer.write(stream, &chunk[..length]),
            }
        }
        for index in over.into_iter().rev() {
            open.remove(index);
        }
    }
    Ok(())
}

/// The log, as it is written.
pub(crate) struct Writer {
    dir: PathBuf,
    /// If it could be opened.
    file: Option<File>,
    size: u64,
    /// The last write has taken a part of a line only.
    is_torn: bool,
    /// What could not be written, in bytes.
    lost: u64,
}

impl Writer {
    pub(crate) fn new(dir: &Path) -> Writer {
        Writer {
            dir: dir.to_owned(),
            file: None,
            size: 0,
            is_torn: false,
            lost: 0,
        }
    }

    /// Writes what came out of `stream`. A full disk is no reason to keep the
    /// container waiting: what has no place is lost, and the log says so, when
    /// it can.
    pub(crate) fn write(&mut self, stream: Stream, text: &[u8]) {
        match self.try_to_write(stream, text) {
            Ok(()) => self.lost = 0,
            Err(_) => {
                self.is_torn = true;
                self.lost += text.len() as u64;
            }
        }
    }

    fn try_to_write(&mut self, stream: Stream, text: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        let mut lines = Vec::with_capacity(text.len() + 4096);
        if self.lost > 0 {
            let note = format!("{} bytes of the output are lost\n", self.lost);
            append(&mut lines, now, Stream::Stderr, note.as_bytes());
        }
        append(&mut lines, now, stream, text);
        if self.size + lines.len() as u64 > SIZE_MAX {
            self.set_aside()?;
        }
        self.write_all(&lines)
    }

    /// From here on the log is a new one, and this is the older one.
    fn set_aside(&mut self) -> io::Result<()> {
        fs::rename(self.dir.join(LOG), self.dir.join(OLDER))?;
        (self.file, self.size) = (None, 0);
        Ok(())
    }

    fn write_all(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let file = open(&self.dir.join(LOG))?;
            self.size = file.metadata()?.len();
            // A pump that was killed may have left half of a line.
            self.is_torn = self.size > 0;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if take(&mut self.is_torn) {
            file.write_all(b"\n")?;
        }
        let written = file.write_all(lines);
        self.size = file.metadata()?.len();
        written
    }
}

/// Makes the log, so that it is there before there is anything in it.
pub(crate) fn create_log(dir: &Path) -> anyhow::Result<()> {
    let path = dir.join(LOG);
    let opened = open(&path).map(drop);
    opened.with_context(|| format!("open({path:?}, O_CREAT)"))
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

/// One line of the log for each of the text, or for a piece of it.
fn append(lines: &mut Vec<u8>, now: Instant, stream: Stream, text: &[u8]) {
    let beginning = format!("{now} {} ", stream.name());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        for piece in line.chunks(PIECE) {
            lines.extend(beginning.as_bytes());
            match piece.strip_suffix(b"\n") {
                Some(whole) => {
                    lines.extend(b"F ");
                    lines.extend(whole);
                }
                None => {
                    lines.extend(b"P ");
                    lines.extend(piece);
                }
            }
            lines.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_whole_yet_says_so() {
        let mut lines = Vec::new();
        append(&mut lines, Instant::now(), Stream::Stdout, b"one\n\ntw");
        let text = String::from_utf8(lines).expect("text");
        let ends: Vec<&str> = text.lines().map(|line| &line[31..]).collect();
        assert_eq!(ends, ["stdout F one", "stdout F ", "stdout P tw"]);
    }

    #[test]
    fn the_log_has_a_limit() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut writer = Writer::new(dir.path());
        for _ in 0..30 {
            writer.write(Stream::Stdout, &vec![b'x'; 1 << 20]);
        }
        let size =
            |name| fs::metadata(dir.path().join(name)).expect(name).len();
        assert!(size(LOG) <= SIZE_MAX && size(OLDER) <= SIZE_MAX);
        assert!(size(OLDER) > SIZE_MAX / 2);
        assert_eq!(fs::read_dir(dir.path()).expect("it").count(), 2);
    }
}
