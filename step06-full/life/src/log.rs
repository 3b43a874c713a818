//! What a container has printed, read from its log.
//!
//! Each line has the moment and the stream in front, and whether it is a full
//! line (`F`) or a part of one (`P`), as the files of Kubernetes have it:
//!
//! ```text
//! 2026-11-29T13:15:58.000000000Z stdout F hello
//! ```

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom},
    mem::take,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

pub(crate) const LOG: &str = "log";
/// What was the log before it had reached its limit.
pub(crate) const OLDER: &str = "log.1";

/// How large the log may become; the older one is as large.
pub(crate) const SIZE_MAX: u64 = 10 << 20;

/// Where something was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// A line of a log, or a part of one.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// When it was printed.
    pub moment: String,
    /// Where.
    pub stream: Stream,
    /// With a line break at its end, if it is a whole line.
    pub text: Vec<u8>,
}

/// A log that is read.
pub struct Log {
    dir: PathBuf,
    /// What is read, and what comes after it.
    file: BufReader<File>,
    later: Option<PathBuf>,
    /// What there is of a line that is still being written.
    begun: Vec<u8>,
}

impl Log {
    /// Opens the log in `dir`, at its beginning; `None` if there is none.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Option<Log>> {
        let log = dir.join(LOG);
        let (file, later) = match open(&dir.join(OLDER))? {
            Some(file) => (Some(file), Some(log)),
            // It may be renamed between the two.
            None => match open(&log)? {
                None => (open(&dir.join(OLDER))?, Some(log)),
                found => (found, None),
            },
        };
        Ok(file.map(|file| Log {
            dir: dir.to_owned(),
            file: BufReader::new(file),
            later,
            begun: Vec::new(),
        }))
    }

    /// Goes to the end of what there is.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn skip(&mut self) -> anyhow::Result<()> {
        // Right after the log was renamed, there is none for a moment.
        if let Some(later) = self.later.take()
            && let Some(later) = open(&later)?
        {
            self.file = BufReader::new(later);
        }
        self.begun.clear();
        let end = self.file.seek(SeekFrom::End(0));
        end.map(drop).context("reading the log")
    }

    /// The next line; `None` if there is no more for now.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn next_line(&mut self) -> anyhow::Result<Option<Line>> {
        loop {
            let more = self.file.read_until(b'\n', &mut self.begun);
            more.context("reading the log")?;
            if self.begun.last() == Some(&b'\n') {
                // What is no line of ours was torn by a full disk.
                match parse(&take(&mut self.begun)) {
                    Some(line) => return Ok(Some(line)),
                    None => continue,
                }
            }
            if !self.go_on()? {
                return Ok(None);
            }
        }
    }

    /// At the end of a file: whether there is one behind it.
    fn go_on(&mut self) -> anyhow::Result<bool> {
        let log = self.dir.join(LOG);
        let later = match self.later.take() {
            Some(path) => open(&path)?,
            None => open(&log)?,
        };
        let Some(later) = later else { return Ok(false) };
        let is_same = |one: &File, other: &File| {
            Ok(one.metadata()?.ino() == other.metadata()?.ino())
        };
        let same: std::io::Result<bool> = is_same(&later, self.file.get_ref());
        if same.context("reading the log")? {
            return Ok(false);
        }
        // What came before the log was renamed, and after we have read it.
        let mut rest = Vec::new();
        let read = self.file.read_until(b'\n', &mut rest);
        if read.context("reading the log")? > 0 {
            self.begun.append(&mut rest);
            return Ok(true);
        }
        self.begun.clear();
        self.file = BufReader::new(later);
        Ok(true)
    }
}

fn open(path: &Path) -> anyhow::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.with_context(|| format!("open({path:?})")).map(Some),
    }
}

fn parse(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\n")?;
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let moment = String::from_utf8(fields.next()?.to_vec()).ok()?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let kind = fields.next()?;
    let mut text = fields.next()?.to_vec();
    match kind {
        b"F" => text.push(b'\n'),
        b"P" => {}
        _ => return None,
    }
    Some(Line {
        moment,
        stream,
        text,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn a_log_is_read_over_its_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let line =
            |text: &str| format!("2026-11-29T13:15:58Z stdout F {text}\n");
        let path = dir.path().join(LOG);
        fs::write(&path, line("one")).expect("it is written");
        let mut log = Log::open(dir.path()).expect("it").expect("is there");
        let mut next = || {
            let line = log.next_line().expect("it is readable")?;
            Some(String::from_utf8(line.text).expect("text"))
        };
        assert_eq!(next().as_deref(), Some("one\n"));
        assert_eq!(next(), None);
        let mut file = File::options().append(true).open(&path).expect("open");
        file.write_all(line("two").as_bytes()).expect("written");
        fs::rename(&path, dir.path().join(OLDER)).expect("renamed");
        fs::write(&path, line("three")).expect("it is written");
        assert_eq!(next().as_deref(), Some("two\n"));
        assert_eq!(next().as_deref(), Some("three\n"));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_log_that_is_changing_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let line = "2026-11-29T13:15:58Z stdout F one\n";
        // In the moment between the two steps.
        fs::write(dir.path().join(OLDER), line).expect("it is written");
        let mut log = Log::open(dir.path()).expect("it").expect("is there");
        log.skip().expect("it is at its end");
        assert_eq!(log.next_line().expect("it is readable"), None);
        fs::write(dir.path().join(LOG), line).expect("it is written");
        let next = log.next_line().expect("it is readable");
        assert_eq!(next.expect("a line").text, b"one\n");
    }

    #[test]
    fn what_is_torn_is_left_out() {
        assert_eq!(parse(b"2026-11-29T13:\n"), None);
        assert_eq!(parse(b"\n"), None);
        let line = parse(b"now stderr P a b \n").expect("a line");
        assert_eq!(
            (line.stream, line.text),
            (Stream::Stderr, b"a b ".to_vec())
        );
    }
}
