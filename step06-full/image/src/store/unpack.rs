//! Layers, from bytes to directories.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::Context;
use common::host::trees::remove_tree;
use nix::unistd::syncfs;

use super::{Listener, Lock, News, Store, layer_lock, pull::Layer};
use crate::{
    apply,
    in_container::{self, Killed},
};

impl Store {
    /// Unpacks the layers that are missing, from below.
    pub(super) fn unpack(
        &self,
        layers: &[Layer],
        listener: Listener,
    ) -> anyhow::Result<()> {
        let mut below = vec![self.dir.join("empty")];
        for layer in layers {
            let digest = &layer.blob.digest;
            self.unpack_one(layer, &below, listener)
                .with_context(|| format!("unpacking the layer {digest}"))?;
            below.insert(0, self.layer_path(&layer.chain_id));
        }
        Ok(())
    }

    pub(super) fn unpack_one(
        &self,
        layer: &Layer,
        below: &[PathBuf],
        listener: Listener,
    ) -> anyhow::Result<()> {
        let lock = layer_lock(&layer.chain_id);
        // A container that runs has it as well: of a layer that is there, nobody
        // gets it alone.
        let shared = self.lock(&lock, Lock::Shared)?;
        if self.has(layer) {
            return Ok(());
        }
        drop(shared);
        let _alone = self.lock(&lock, Lock::Exclusive)?;
        if self.has(layer) {
            return Ok(());
        }
        listener(News::Unpacking {
            digest: &layer.blob.digest,
        });
        let path = self.layer_path(&layer.chain_id);
        let new = path.with_extension("new");
        self.remove_dir(&new)?;
        let blob = self.blob_path(&layer.blob.digest);
        let file = File::open(&blob).with_context(|| format!("{blob:?}"))?;
        let mut note = |text: &str| listener(News::Note(text));
        let unpacked = apply::layer(
            file,
            &layer.blob.media_type,
            &layer.diff_id,
            below,
            &new,
            self.limits,
            &mut note,
        );
        if let Err(error) = &unpacked {
            if !error.is::<Killed>() {
                // What is wrong with it may be ours: the next try fetches it
                // anew.
                let _ = fs::remove_file(&blob);
            }
            self.remove_dir(&new)?;
        }
        unpacked?;
        let done = File::open(&new)?;
        syncfs(&done).with_context(|| format!("syncfs({new:?})"))?;
        // By whom its files belong to: it is written to, as a directory is that
        // gets another parent.
        in_container::as_owner(&mut |_| {}, |_, _| {
            Ok(fs::rename(new.join("upper"), &path)?)
        })?;
        self.remove_dir(&new)
    }

    /// Removes a directory of the store, of which files may belong to others than
    /// us.
    pub(super) fn remove_dir(&self, path: &Path) -> anyhow::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        in_container::as_owner(&mut |_| {}, |_, _| Ok(remove_tree(path)?))
            .with_context(|| format!("removing {path:?}"))
    }
}
