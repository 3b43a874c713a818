//! Work on files of an image is done in a container of ours: whoever made the
//! image has a say in where its links lead, and there they lead nowhere else.
//!
//! Steps 3 and 5 do it: a mount namespace, a root of its own, and the layers on
//! one another. No program of the image runs.

use std::{
    convert::Infallible,
    fmt,
    fs::File,
    io::{BufRead, BufReader, Seek, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use common::{
    NewProcess, errors,
    process::{self, signals},
};
use nix::{
    sched::CloneFlags,
    sys::memfd::{MFdFlags, memfd_create},
};
use step05_overlay::{Layers, OpenLayers};
use step06_full::user::{Ids, Options};

/// Says something to who waits outside, a line each.
pub(crate) struct Speaker(File);

/// What a line is about, in its first byte.
const NOTE: char = '-';
const FAILURE: char = '!';

impl Speaker {
    /// Something that people should know, and no error.
    pub(crate) fn note(&mut self, text: &str) {
        self.say(NOTE, text);
    }

    fn say(&mut self, kind: char, text: &str) {
        // Whoever does not listen any more has ended, and we with it.
        let _ = writeln!(self.0, "{kind}{}", errors::escaped(text));
    }
}

/// The work has not come to its end, for a reason that has nothing to do with it:
/// Ctrl-C, for example.
#[derive(Debug)]
pub(crate) struct Killed;

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it was interrupted")
    }
}

impl std::error::Error for Killed {}

/// What can be done with the ids of files.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Owners {
    /// Each file gets its owner.
    All,
    /// There is only one id: all files are of the same user.
    One,
}

/// Does `work` as whoever the files of images belong to: those of a plain user's
/// belong to ids that were granted, and are not the user's own.
pub(crate) fn as_owner(
    note: &mut dyn FnMut(&str),
    work: impl FnOnce(&mut Speaker, Owners) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    run(OpenLayers::default(), |_| Ok(()), note, work)
}

/// Does `work` where `/` is an overlay of the directories `lower`, from the top,
/// and what is written goes to `upper/upper`.
pub(crate) fn on_layers(
    lower: &[PathBuf],
    upper: &Path,
    note: &mut dyn FnMut(&str),
    work: impl FnOnce(&mut Speaker, Owners) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (root, lower) = lower.split_last().context("there is no layer")?;
    let layers = Layers {
        lower: lower.to_vec(),
        upper: Some(upper.to_owned()),
    };
    let layers = layers.find(root)?;
    let enter = |layers: &OpenLayers| {
        step03_mount::make_private()?;
        let root = step05_overlay::mount_root(root, layers)?;
        step03_mount::enter_root(&root)
    };
    run(layers, enter, note, work)
}

/// A file without a name, twice.
fn file_in_memory() -> anyhow::Result<(File, File)> {
    let file = memfd_create(c"notes", MFdFlags::MFD_CLOEXEC);
    let file = File::from(file.context("memfd_create(\"notes\")")?);
    Ok((file.try_clone()?, file))
}

/// The caller must have only one thread.
fn run(
    mut layers: OpenLayers,
    enter: impl FnOnce(&OpenLayers) -> anyhow::Result<()>,
    note: &mut dyn FnMut(&str),
    work: impl FnOnce(&mut Speaker, Owners) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Those that a container of the caller's has: for root the image's own, to
    // be shown with others later.
    let options = Options {
        root_is_root_outside: true,
    };
    let ids = Ids::choose(&options, &mut layers)?;
    let owners = match ids {
        Ids::Own(None) => Owners::One,
        _ => Owners::All,
    };
    // Not a pipe: we could not wait for both that and the process.
    let (mut theirs, ours) = file_in_memory()?;
    let mut speaker = Speaker(ours);
    let mut process = NewProcess::default();
    process.flags |= CloneFlags::CLONE_NEWNS;
    process.flags |= CloneFlags::CLONE_NEWUSER;
    let container = || -> anyhow::Result<Infallible> {
        let inside = || {
            // Ctrl-C ends it: what it has begun is removed by whoever is next.
            signals::unblock()?;
            ids.become_root()?;
            enter(&layers)?;
            work(&mut speaker, owners)
        };
        if let Err(error) = inside() {
            speaker.say(FAILURE, &errors::one_line(&error));
        }
        process::exit(0)
    };
    let child = process.spawn(container)?;
    ids.map(child.pid(), &layers, &[])?;
    child.start()?;
    let code = child.wait()?;
    let mut failure = None;
    theirs.rewind()?;
    for line in BufReader::new(theirs).lines() {
        let line = line.context("read(memfd)")?;
        match line.strip_prefix(FAILURE) {
            Some(text) => failure = Some(anyhow!("{text}")),
            None => note(line.trim_start_matches(NOTE)),
        }
    }
    failure.map_or(Ok(()), Err)?;
    match code == ExitCode::SUCCESS {
        true => Ok(()),
        false => Err(Killed.into()),
    }
}
