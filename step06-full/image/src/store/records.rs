//! Which images are here.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use step05_overlay::changes;

use super::{Lock, Store};
use crate::{Digest, Reference, in_container, manifest::Container};

/// What the store knows of an image.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record {
    /// What it is called.
    pub reference: String,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The digest of its configuration, which Docker calls the image's id.
    pub config: Digest,
    /// The chain ids of its layers, from below.
    pub layers: Vec<Digest>,
    /// What a container of it is to be like.
    pub container: Container,
}

/// How much of an id must be there at least.
const ID_MIN: usize = 4;

impl Store {
    /// All images, in the order of their names.
    ///
    /// # Errors
    /// What is known of one can't be read.
    pub fn images(&self) -> anyhow::Result<Vec<Record>> {
        let dir = self.dir.join("images");
        let mut images = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("{dir:?}"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|it| it != "new") {
                images.extend(read(&path)?);
            }
        }
        images.sort_by(|one, other| one.reference.cmp(&other.reference));
        Ok(images)
    }

    /// The image with this id, which may be cut short as [`Digest::short`] does.
    ///
    /// # Errors
    /// There are several.
    pub fn by_id(&self, id: &str) -> anyhow::Result<Option<Reference>> {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if id.len() < ID_MIN || !id.bytes().all(is_digit) {
            return Ok(None);
        }
        let mut found = self.images()?;
        found.retain(|it| it.config.hex().starts_with(id));
        let names = found.iter().map(|it| it.reference.as_str());
        match names.collect::<Vec<_>>()[..] {
            [] => Ok(None),
            [name] => name.parse().map(Some),
            ref several => bail!("{id} is {}", several.join(" and ")),
        }
    }

    /// Forgets an image, and removes what nobody else needs.
    ///
    /// # Errors
    /// There is no such image.
    pub fn remove(&self, reference: &Reference) -> anyhow::Result<()> {
        let name = reference.to_string();
        let path = self.record_path(&name);
        ensure!(path.exists(), "there is no image {name}");
        // First: who is tired of waiting finds all of it as it was.
        let alone = self.lock("store", Lock::Exclusive)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("there is no image {name}")
            }
            removed => removed.with_context(|| format!("removing {name}"))?,
        }
        self.prune_alone(&alone).map(drop)
    }

    /// Removes layers that belong to no image, and what was not fetched to its
    /// end. Returns how many directories are gone. What a container uses stays.
    ///
    /// # Errors
    /// Something can't be removed.
    pub fn prune(&self) -> anyhow::Result<usize> {
        // Nobody pulls, and nobody is about to use what we don't know to be used.
        let alone = self.lock("store", Lock::Exclusive)?;
        self.prune_alone(&alone)
    }

    /// The same, for who has the lock.
    fn prune_alone(&self, _alone: &File) -> anyhow::Result<usize> {
        let images = self.images()?;
        let is_known = |path: &Path| {
            let mut all = images.iter().flat_map(|it| &it.layers);
            all.any(|it| path == self.layer_path(it))
        };
        let mut removed = 0;
        for entry in fs::read_dir(self.dir.join("layers"))? {
            let path = entry?.path();
            if is_known(&path) {
                continue;
            }
            let name = path.file_name().unwrap_or_default().display();
            let lock = self.open_lock(&format!("layer-{name}"))?;
            if lock.try_lock().is_ok() {
                self.remove_dir(&path)?;
                removed += 1;
            }
        }
        for entry in fs::read_dir(self.dir.join("blobs"))? {
            fs::remove_file(entry?.path())?;
        }
        for entry in fs::read_dir(self.dir.join("locks"))? {
            let path = entry?.path();
            let is_free = File::open(&path)?.try_lock().is_ok();
            if is_free {
                fs::remove_file(path)?;
            }
        }
        Ok(removed)
    }

    /// Calls `line` for each file that a layer of an image brings, changes or
    /// deletes: with the layer's number, from below and from 1 on, and what
    /// [`step05_overlay::changes`] says.
    ///
    /// # Errors
    /// There is no such image, or it can't be read.
    pub fn changes(
        &self,
        reference: &Reference,
        line: &mut dyn FnMut(&str),
    ) -> anyhow::Result<()> {
        let image = self.find(reference)?;
        let image = image.with_context(|| {
            format!("there is no image {reference}: pull it")
        })?;
        let layers = &image.layers;
        in_container::as_owner(line, |speaker, _| {
            for number in 1..layers.len() {
                let below: Vec<PathBuf> =
                    layers[..number].iter().rev().cloned().collect();
                changes(&layers[number], &below, |letter, path| {
                    let path = OsStr::from_bytes(path).display();
                    speaker.note(&format!("{number} {letter} {path}"));
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    pub(super) fn record(&self, name: &str) -> anyhow::Result<Option<Record>> {
        read(&self.record_path(name))
    }

    pub(super) fn write(&self, record: &Record) -> anyhow::Result<()> {
        let path = self.record_path(&record.reference);
        let new = path.with_added_extension("new");
        let write = || {
            let _alone = self.lock("records", Lock::Exclusive)?;
            fs::write(&new, serde_json::to_vec_pretty(record)?)?;
            File::open(&new)?.sync_all()?;
            anyhow::Ok(fs::rename(&new, &path)?)
        };
        write().with_context(|| format!("writing {path:?}"))
    }

    /// A name of an image as the name of a file.
    fn record_path(&self, name: &str) -> PathBuf {
        // An image has a long name, and "/" in it.
        self.dir.join("images").join(Digest::of(name).hex())
    }
}

fn read(path: &Path) -> anyhow::Result<Option<Record>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("reading {path:?}"))?,
    };
    let record = serde_json::from_slice(&text);
    record
        .with_context(|| format!("reading {path:?}"))
        .map(Some)
}
