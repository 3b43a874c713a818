//! A layer becomes a directory.
//!
//! It is unpacked onto the layers below it: on an overlay of them, the upper
//! directory of which is the new one. So the kernel writes what overlay will
//! want to read, such as the mark for a file that the layer deletes; and what a
//! layer does not say, as the mode of a directory that it only puts a file into,
//! is as below. See layer.md of the image specification, "Applying Changesets".

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
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

pub(crate) mod allowance;
mod compression;
mod files;
mod limits;
mod marks;
mod notes;

use allowance::Allowance;
use compression::unpacked;
use files::{
    Directory, Extensions, inside, is_directory, owner, remove, stored, unpack,
};
pub use limits::Limits;
use notes::Notes;

/// How much may stand between two files, in bytes: long names, and what else is
/// said of a file. It is kept in memory.
pub(crate) const NAMES_MAX: u64 = 4 << 20;

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
            notes: Notes::default(),
            ours: BTreeSet::new(),
            left_out: BTreeSet::new(),
            names: 0,
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
    notes: Notes,
    /// What this layer has brought, and all directories on the way there.
    ours: BTreeSet<PathBuf>,
    /// What of it is no file, and so is not in the image.
    left_out: BTreeSet<PathBuf>,
    /// How long all these names are together.
    names: usize,
    /// Directories are finished last: what is put into one changes it.
    directories: BTreeMap<PathBuf, Directory>,
}

impl Layer {
    fn apply(
        &mut self,
        archive: impl Read,
        speaker: &mut Speaker,
    ) -> anyhow::Result<()> {
        let names = Allowance::new(NAMES_MAX);
        let mut archive = Archive::new(names.reader(archive));
        archive.set_preserve_permissions(true);
        archive.set_preserve_ownerships(self.owners == Owners::All);
        let entries = archive.entries().context("reading the archive")?;
        for (count, entry) in entries.enumerate() {
            let mut entry = entry.context("reading the archive")?;
            names.set(stored(&entry)?.saturating_add(NAMES_MAX));
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
        if self.heeds_mark(path)? {
            return Ok(());
        }
        if owner(entry)? != (0, 0) && self.owners == Owners::One {
            self.notes.owners(speaker);
        }
        let extensions = Extensions::of(entry)?;
        ensure!(
            !extensions.holes,
            "its holes are written as only GNU tar does"
        );
        if extensions.capabilities {
            self.notes.capabilities(path, speaker);
        }
        match entry.header().entry_type() {
            EntryType::Directory => self.make_directory(entry, path)?,
            EntryType::Link if self.leads_to_left_out(entry)? => {
                return self.leave_out(path, speaker);
            }
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::GNUSparse
            | EntryType::Symlink
            | EntryType::Link => unpack(entry, path)?,
            EntryType::XGlobalHeader => return Ok(()),
            // A container gets its devices from us.
            _ => return self.leave_out(path, speaker),
        }
        self.remember(path)
    }

    /// Says so, and remembers it: it may have other names, which are links to
    /// this one.
    fn leave_out(
        &mut self,
        path: &Path,
        speaker: &mut Speaker,
    ) -> anyhow::Result<()> {
        self.notes.left_out(path, speaker);
        self.names += path.as_os_str().len();
        self.left_out.insert(path.to_owned());
        self.check_limits()
    }

    fn leads_to_left_out(
        &self,
        entry: &Entry<impl Read>,
    ) -> anyhow::Result<bool> {
        let target = entry.link_name()?.map(|it| inside(&it)).transpose()?;
        Ok(target.is_some_and(|it| self.left_out.contains(&it)))
    }

    /// Takes note of a file, and of the directories on the way there: an archive
    /// need not say them, and in few bytes there can be many.
    fn remember(&mut self, path: &Path) -> anyhow::Result<()> {
        for path in path.ancestors() {
            // Then those above it are, too.
            if !self.ours.insert(path.to_owned()) {
                break;
            }
            self.names += path.as_os_str().len();
        }
        self.left_out.remove(path);
        self.check_limits()
    }

    fn check_limits(&self) -> anyhow::Result<()> {
        let files = self.ours.len() + self.left_out.len();
        self.limits.check(files, self.names)
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
