//! A layer becomes a directory.
//!
//! It is unpacked onto the layers below it: on an overlay of them, the upper
//! directory of which is the new one. So the kernel writes what overlay will
//! want to read, such as the mark for a file that the layer deletes; and what a
//! layer does not say, as the mode of a directory that it only puts a file into,
//! is as below. See layer.md of the image specification, "Applying Changesets".

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    mem,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use nix::sys::stat::{Mode, umask};
use tar::{Archive, Entry, EntryType};

use crate::{
    Digest,
    digest::Hashing,
    in_container::{self, Owners, Speaker},
};

mod compression;
mod files;

use compression::unpacked;
use files::{Directory, inside, is_directory, owner, remove, unpack};

/// What a layer may be unpacked to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All files together, in bytes.
    pub bytes: u64,
    /// The number of files.
    pub files: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 8 << 30,
            files: 1_000_000,
        }
    }
}

impl Limits {
    /// How long an archive is at most that keeps them: each file has a head, and
    /// is filled up to a whole number of blocks; a long name takes more of both.
    fn archive(&self) -> u64 {
        let files = u64::try_from(self.files).unwrap_or(u64::MAX);
        self.bytes.saturating_add(files.saturating_mul(8 * 1024))
    }
}

/// How many files that are left out are named.
const LEFT_OUT_MAX: usize = 20;

/// What begins the name of a file that only says which other one is deleted, and
/// the name of the one that says that all others are. They are those of AUFS, a
/// forerunner of overlay.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const FOR_AUFS: &[u8] = b".wh..wh.";

/// Unpacks a layer, compressed as `media_type` says, into `new/upper`.
///
/// `below` are the layers below, from the top, at least one. `diff_id` is what
/// the archive must be without the compression: what was written is of no use
/// when that turns out to be wrong.
pub(crate) fn layer(
    blob: File,
    media_type: &str,
    diff_id: &Digest,
    below: &[PathBuf],
    new: &Path,
    limits: Limits,
    note: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    in_container::on_layers(below, new, note, |speaker, owners| {
        umask(Mode::from_bits_truncate(0o022));
        // Behind its end may be more, without an end.
        let archive = unpacked(blob, media_type)?.take(limits.archive());
        let mut archive = Hashing::new(archive);
        let mut layer = Layer {
            owners,
            limits,
            bytes: 0,
            told_of_owners: false,
            left_out: 0,
            ours: BTreeSet::new(),
            directories: BTreeMap::new(),
        };
        layer.apply(&mut archive, speaker)?;
        let is = archive.digest().context("reading the archive")?;
        ensure!(
            is == *diff_id,
            "the archive's digest should be {diff_id}, and is {is}"
        );
        layer.finish_directories()
    })
}

struct Layer {
    owners: Owners,
    limits: Limits,
    /// What was unpacked so far.
    bytes: u64,
    told_of_owners: bool,
    /// How many files that are none.
    left_out: usize,
    /// What this layer has brought, and all directories on the way there.
    ours: BTreeSet<PathBuf>,
    /// Directories are finished last: what is put into one changes it.
    directories: BTreeMap<PathBuf, Directory>,
}

impl Layer {
    fn apply(
        &mut self,
        archive: impl Read,
        speaker: &mut Speaker,
    ) -> anyhow::Result<()> {
        let mut archive = Archive::new(archive);
        archive.set_preserve_permissions(true);
        archive.set_preserve_ownerships(self.owners == Owners::All);
        let entries = archive.entries().context("reading the archive")?;
        for (count, entry) in entries.enumerate() {
            let mut entry = entry.context("reading the archive")?;
            let limit = self.limits.files;
            ensure!(count < limit, "it has more than {limit} files");
            self.bytes = self.bytes.saturating_add(entry.size());
            let limit = self.limits.bytes;
            ensure!(self.bytes <= limit, "it has more than {limit} bytes");

            let path = inside(&entry.path()?)?;
            self.apply_entry(&mut entry, &path, speaker)
                .with_context(|| format!("unpacking {path:?}"))?;
        }
        Ok(())
    }

    fn apply_entry(
        &mut self,
        entry: &mut Entry<impl Read>,
        path: &Path,
        speaker: &mut Speaker,
    ) -> anyhow::Result<()> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let parent = path.parent().unwrap_or(path);
        if name == OPAQUE {
            return self.empty(parent);
        }
        if name.starts_with(FOR_AUFS) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.hide(parent, OsStr::from_bytes(hidden));
        }
        if owner(entry)? != (0, 0) && self.owners == Owners::One {
            self.tell_of_owners(speaker);
        }
        match entry.header().entry_type() {
            EntryType::Directory => self.make_directory(entry, path)?,
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::GNUSparse
            | EntryType::Symlink
            | EntryType::Link => unpack(entry, path)?,
            EntryType::XGlobalHeader => return Ok(()),
            // A container gets its devices from us.
            _ => {
                self.leave_out(path, speaker);
                return Ok(());
            }
        }
        self.ours.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn make_directory(
        &mut self,
        entry: &Entry<impl Read>,
        path: &Path,
    ) -> anyhow::Result<()> {
        if !is_directory(path) {
            remove(path)?;
            fs::create_dir_all(path)?;
        }
        let header = entry.header();
        let directory = Directory {
            mode: header.mode()? & 0o7777,
            owner: owner(entry)?,
            modified: Duration::from_secs(header.mtime()?),
        };
        // What is said last counts.
        self.directories.insert(path.to_owned(), directory);
        Ok(())
    }

    /// Says what is left out: of many, only the first.
    fn leave_out(&mut self, path: &Path, speaker: &mut Speaker) {
        self.left_out += 1;
        match self.left_out {
            ..=LEFT_OUT_MAX => {
                speaker.note(&format!("left out: {path:?}, which is no file"));
            }
            it if it == LEFT_OUT_MAX + 1 => speaker.note("left out: others"),
            _ => {}
        }
    }

    /// Says, once, that a plain user without other ids can't give files away.
    fn tell_of_owners(&mut self, speaker: &mut Speaker) {
        if !mem::replace(&mut self.told_of_owners, true) {
            speaker.note(
                "all files are root's in the container: only one id is yours \
                 (see subuid(5))",
            );
        }
    }

    /// Deletes what the layers below have brought, and nothing of ours.
    fn hide(&self, parent: &Path, name: &OsStr) -> anyhow::Result<()> {
        let path = parent.join(name);
        // "", "." and "..": another file than the name says.
        ensure!(
            path.file_name() == Some(name),
            "there is no file {name:?} to be deleted"
        );
        match self.ours.contains(&path) {
            true => self.empty(&path),
            false => remove(&path),
        }
    }

    /// The same for all that is in a directory.
    fn empty(&self, directory: &Path) -> anyhow::Result<()> {
        if !is_directory(directory) {
            return Ok(());
        }
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match self.ours.contains(&path) {
                true => self.empty(&path)?,
                false => remove(&path)?,
            }
        }
        Ok(())
    }

    /// Gives the directories their owners, modes and times, the deepest first.
    fn finish_directories(self) -> anyhow::Result<()> {
        for (path, directory) in self.directories.iter().rev() {
            if is_directory(path) {
                directory
                    .finish(path, self.owners)
                    .with_context(|| format!("finishing {path:?}"))?;
            }
        }
        Ok(())
    }
}
