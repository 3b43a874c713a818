//! The list of the host's files that an image was built from.
//!
//! One line each: the size in bytes, the time of the last change, a tab, the
//! path. A file that was looked for and not found is `absent`: when BusyBox or a
//! missing tool is installed, the image is out of date, too.
//!
//! The time is the one that nobody can set, `st_ctime`. That of the last
//! modification is the same for all files, before an update and after it, where
//! packages are built to be reproducible. See inode(7).
//!
//! Each image has a list of its own, and whoever runs in the image holds a lock
//! on the list. It is closed to others, who could lock it as well.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    fs::File,
    io::Read,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, AtFlags, OFlag},
    sys::stat::fstatat,
};

use crate::{host::paths::open_directory, sys};

/// The first line. To be raised when the code below builds something else out
/// of the same files, so that readers do not keep an old image.
const VERSION: &str = "image 4";

/// What is said of a file that was looked for and not found.
const ABSENT: &str = "absent";

/// The files on which an image depends, found or not, and how they were.
#[derive(Default)]
pub(super) struct Sources(BTreeMap<PathBuf, Option<State>>);

/// How a file was.
#[derive(PartialEq)]
struct State {
    size: i64,
    /// Seconds, and nanoseconds.
    changed: (i64, i64),
}

impl State {
    /// The file that `path` leads to, seen from `directory`, if there is one.
    fn of(directory: impl AsFd, path: &Path) -> Option<State> {
        let status = fstatat(directory, path, AtFlags::empty()).ok()?;
        Some(State {
            size: status.st_size,
            changed: (status.st_ctime, status.st_ctime_nsec),
        })
    }

    /// What was written of it. Numbers are read faster than they are written,
    /// and there are a hundred at each start.
    fn parse(text: &str) -> Option<State> {
        let (size, changed) = text.split_once(' ')?;
        let (whole, part) = changed.split_once('.')?;
        Some(State {
            size: size.parse().ok()?,
            changed: (whole.parse().ok()?, part.parse().ok()?),
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = self.changed;
        write!(f, "{} {whole}.{part:09}", self.size)
    }
}

impl Sources {
    /// Adds `path`, as it is now: it should not have been read yet. It need not
    /// exist.
    pub(super) fn add(&mut self, path: &Path) {
        self.0.insert(path.to_owned(), State::of(AT_FDCWD, path));
    }

    /// Writes the list to the file `list`, at once or not at all.
    pub(super) fn write(&self, list: &Path) -> anyhow::Result<()> {
        let mut text = format!("{VERSION}\n").into_bytes();
        for (path, state) in &self.0 {
            let state = state.as_ref().map(State::to_string);
            text.extend(state.as_deref().unwrap_or(ABSENT).as_bytes());
            text.push(b'\t');
            text.extend(path.as_os_str().as_bytes());
            text.push(b'\n');
        }
        let new = list.with_extension("new");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        sys::write(sys::open(&new, flags, 0o600)?, text)?;
        super::rename(&new, list)
    }
}

/// Opens `list` and locks it, if all files in it are as they were when it was
/// written. Reads nothing but the list: this is done at each start.
///
/// The lock is shared: any number of containers have it, and whoever builds
/// another image tries for one that nobody shares. It lasts until this process
/// ends, however it ends, and the container ends with us. See flock(2).
pub(super) fn hold_unchanged(list: &Path) -> anyhow::Result<Option<File>> {
    let mut text = Vec::with_capacity(16 * 1024);
    let Ok(mut file) = File::open(list) else {
        return Ok(None);
    };
    if file.read_to_end(&mut text).is_err() || !is_true(&text) {
        return Ok(None);
    }
    sys::flock(&file, libc::LOCK_SH)?;
    // Another one may have taken its place meanwhile.
    let is_same = match (file.metadata(), list.symlink_metadata()) {
        (Ok(ours), Ok(now)) => ours.ino() == now.ino(),
        _ => false,
    };
    Ok(is_same.then_some(file))
}

fn is_true(list: &[u8]) -> bool {
    let mut lines = list.split(|&byte| byte == b'\n');
    // The files of a directory stand together. To look for each from there is
    // faster than from the root.
    let mut directory = None;
    lines.next() == Some(VERSION.as_bytes())
        && lines
            .filter(|line| !line.is_empty())
            .all(|line| line_is_true(line, &mut directory))
}

/// Whether a line is true; `directory` is one that is open, and its path.
fn line_is_true<'a>(
    line: &'a [u8],
    directory: &mut Option<(&'a [u8], OwnedFd)>,
) -> bool {
    let Some(tab) = line.iter().position(|&byte| byte == b'\t') else {
        return false;
    };
    let (state, path) = (&line[..tab], &line[tab + 1..]);
    let Some(slash) = path.iter().rposition(|&byte| byte == b'/') else {
        return false;
    };
    let (parent, name) = path.split_at(slash + 1);
    if directory.as_ref().is_none_or(|(path, _)| *path != parent) {
        let opened = open_directory(as_path(parent)).ok();
        *directory = opened.map(|opened| (parent, opened));
    }
    let now = directory
        .as_ref()
        .and_then(|(_, directory)| State::of(directory, as_path(name)));
    match str::from_utf8(state) {
        Ok(ABSENT) => now.is_none(),
        Ok(state) => now.is_some() && now == State::parse(state),
        Err(_) => false,
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
