//! What is known of a container, as files.
//!
//! Each is written beside its place and renamed, so that whoever reads gets the
//! old one or the new one, and never a half.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use common::Workload;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Instant;

/// What somebody wants to run.
pub struct Subject {
    /// The image, as it was asked for.
    pub image: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The host name inside.
    pub hostname: String,
    /// What more commands in it have from the first.
    pub workload: Workload,
}

/// What a container is: it never changes. `config.json` in what lasts.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Config {
    /// 64 hexadecimal digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created: Instant,
    /// The image, as it was asked for.
    pub image: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The host name inside.
    pub hostname: String,
    /// Names and values that its environment was asked for with: for more
    /// commands in it.
    #[serde(default)]
    pub environment: Vec<(String, String)>,
    /// Where commands begin in it.
    #[serde(default)]
    pub workdir: Option<PathBuf>,
    /// Whom they run as.
    #[serde(default)]
    pub user: Option<String>,
    /// It is removed when it has ended.
    pub remove: bool,
    /// It runs in the background, and has a log.
    pub detached: bool,
    /// It has a terminal of its own.
    #[serde(default)]
    pub tty: bool,
    /// What people have written on it, for themselves.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How it was asked for, to start it once more: the command line, and the
    /// directory that relative paths begin in.
    pub arguments: Vec<OsString>,
    /// See `arguments`.
    pub directory: OsString,
}

/// What happens to a container, for as long as the machine runs. `state.json`
/// in what does not last.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct State {
    /// The parent that stays.
    pub monitor: Process,
    /// The container's number 1.
    pub init: Process,
    /// Its cgroup: a directory in each tree that enforces a limit.
    pub cgroups: Vec<PathBuf>,
    /// The capabilities that its commands have.
    #[serde(default)]
    pub capabilities: Vec<u32>,
    /// What of it can be reached from outside, in Docker's words.
    #[serde(default)]
    pub ports: Vec<String>,
}

/// A process: the number alone would be another's one day.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Process {
    /// Its number on the host.
    pub pid: i32,
    /// When it was started, in clock ticks after boot.
    pub start_time: u64,
    /// Which boot that was, by the kernel's id.
    #[serde(default)]
    pub boot: String,
}

/// The last start of a container, and the end that belongs to it. `last.json`
/// in what lasts.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Last {
    /// When it was started.
    pub started: Instant,
    /// In which run of the machine, by the kernel's id.
    #[serde(default)]
    pub boot: String,
    /// When it has ended, and its exit code, if its monitor has seen that.
    pub ended: Option<(Instant, u8)>,
}

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const STATE: &str = "state.json";
pub(crate) const LAST: &str = "last.json";

/// Reads a file, if it is there.
pub(crate) fn read<T: DeserializeOwned>(
    dir: &Path,
    name: &str,
) -> anyhow::Result<Option<T>> {
    let path = dir.join(name);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("reading {path:?}"))?,
    };
    let read = serde_json::from_slice(&text);
    read.with_context(|| format!("reading {path:?}")).map(Some)
}

/// Writes a file, beside its place, and renames it.
///
/// Where there is no room for that, since the disk is full, it is written over
/// the old one, whose place it has.
pub(crate) fn write<T: Serialize>(
    dir: &Path,
    name: &str,
    what: &T,
) -> anyhow::Result<()> {
    let path = dir.join(name);
    let mut text = serde_json::to_vec_pretty(what)?;
    text.push(b'\n');
    let new = dir.join(format!("{name}.new"));
    let written = match replace(&path, &new, &text) {
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            let _ = fs::remove_file(new);
            match path.exists() {
                true => overwrite(&path, &text),
                false => Err(error),
            }
        }
        written => written,
    };
    written.with_context(|| format!("writing {path:?}"))
}

fn replace(path: &Path, new: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = create(new)?;
    file.write_all(text)?;
    fs::rename(new, path)
}

fn overwrite(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)
}

/// Waits until a file is on the disk: what is never written again must be there
/// after a power cut, too.
pub(crate) fn sync(dir: &Path, name: &str) -> anyhow::Result<()> {
    let path = dir.join(name);
    let sync = || File::open(&path)?.sync_all();
    sync().with_context(|| format!("fsync({path:?})"))
}

/// A new file that is closed to others; one that is there is emptied.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.mode(0o600).open(path)
}

/// Those that are text: a file of JSON can't hold others.
pub(crate) fn texts(
    settings: &[(OsString, OsString)],
) -> Vec<(String, String)> {
    let text = |it: &OsString| it.to_str().map(str::to_owned);
    let both = |(name, value)| Some((text(name)?, text(value)?));
    let pairs = settings.iter().map(|(name, value)| (name, value));
    pairs.filter_map(both).collect()
}

/// Each is `KEY=VALUE`, or `KEY` alone.
pub(crate) fn labels(texts: &[String]) -> BTreeMap<String, String> {
    let texts = texts.iter();
    let pairs = texts.map(|it| it.split_once('=').unwrap_or((it, "")));
    pairs
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}
