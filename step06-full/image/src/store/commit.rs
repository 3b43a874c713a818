//! A new image: an old one, and what a container has changed.

use std::{
    fs::{self, File},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    process,
};

use anyhow::Context;
use serde_json::json;

use super::{Listener, Lock, Record, Store, pull::Layer};
use crate::{
    Digest, Reference,
    digest::Hashing,
    in_container,
    manifest::{Container, Descriptor},
    pack::Packer,
};

impl Store {
    /// Makes an image that is called `name`: the layers of `base`, if there is
    /// one, and on top of them a layer for each of the directories `added`.
    /// `container` is what it says about its containers.
    ///
    /// Each directory becomes an archive, and that is unpacked like any other:
    /// so the image is what everybody else would get of it.
    ///
    /// The caller must have only one thread.
    ///
    /// # Errors
    /// There is no such base, or a directory can't be read.
    pub fn commit(
        &self,
        name: &Reference,
        base: Option<&Reference>,
        added: &[PathBuf],
        container: Container,
        listener: Listener,
    ) -> anyhow::Result<Record> {
        let no_prune = self.lock("store", Lock::Shared)?;
        let mut layers = match base {
            Some(base) => {
                let record = self.record(&base.to_string())?;
                let record = record
                    .with_context(|| format!("there is no image {base}"))?;
                record.layers
            }
            None => Vec::new(),
        };
        for dir in added {
            let chain_id = self.add_layer(&layers, dir, listener)?;
            layers.push(chain_id);
        }
        let config = json!({ "config": container, "layers": layers });
        let config = Digest::of(config.to_string());
        let record = Record {
            reference: name.to_string(),
            manifest: config.clone(),
            config,
            layers,
            container,
        };
        self.write(&record)?;
        drop(no_prune);
        self.remove_blobs();
        Ok(record)
    }

    /// Packs `dir`, and unpacks it onto the layers `below`. Returns what it is
    /// called there.
    fn add_layer(
        &self,
        below: &[Digest],
        dir: &Path,
        listener: Listener,
    ) -> anyhow::Result<Digest> {
        let (digest, size) = self.pack(dir)?;
        let chain_id = match below.last() {
            None => digest.clone(),
            Some(below) => Digest::of(format!("{below} {digest}")),
        };
        let layer = Layer {
            blob: Descriptor {
                media_type: "application/vnd.oci.image.layer.v1.tar".into(),
                digest: digest.clone(),
                size,
                platform: None,
                annotations: Default::default(),
            },
            diff_id: digest,
            chain_id: chain_id.clone(),
        };
        let below = below.iter().rev().map(|it| self.layer_path(it));
        let mut below: Vec<PathBuf> = below.collect();
        below.push(self.dir.join("empty"));
        self.unpack_one(&layer, &below, listener)?;
        Ok(chain_id)
    }

    /// Makes a blob of `dir`; returns its digest and its length.
    fn pack(&self, dir: &Path) -> anyhow::Result<(Digest, u64)> {
        let partial = self.dir.join("blobs");
        let partial = partial.join(format!("{}.partial", process::id()));
        let pack = || {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&partial)?;
            // As whoever its files belong to.
            let limit = self.limits.bytes;
            in_container::as_owner(&mut |_| {}, |_, _| {
                let size = 0;
                let limited = Limited {
                    file: &file,
                    limit,
                    size,
                };
                Packer::new(limited).add(dir).map(drop)
            })?;
            let size = file.metadata()?.len();
            file.rewind()?;
            let digest = Hashing::new(&file).digest()?;
            fs::rename(&partial, self.blob_path(&digest))?;
            anyhow::Ok((digest, size))
        };
        let packed = pack();
        if packed.is_err() {
            let _ = fs::remove_file(&partial);
        }
        packed.with_context(|| format!("making a layer of {dir:?}"))
    }
}

/// A file that takes so many bytes and no more: what a container has written may
/// be a hole of a terabyte, and would be one of zeros here.
struct Limited<'a> {
    file: &'a File,
    limit: u64,
    size: u64,
}

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            let text = format!("it has more than {} bytes", self.limit);
            return Err(io::Error::other(text));
        }
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_does_not_fill_the_disk() {
        let dir = tempfile::tempdir().expect("a directory");
        let hole = File::create(dir.path().join("hole")).expect("a file");
        hole.set_len(1 << 40).expect("a hole");
        let archive = tempfile::tempfile().expect("a file");
        let (limit, size) = (1 << 20, 0);
        let limited = Limited {
            file: &archive,
            limit,
            size,
        };
        let packed = Packer::new(limited).add(dir.path());
        let error = packed.map(drop).expect_err("it is too large");
        let text = common::errors::one_line(&error);
        assert!(text.contains("more than 1048576 bytes"), "{text}");
        assert!(archive.metadata().expect("it").len() <= limit);
    }
}
