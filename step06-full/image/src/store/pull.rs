//! An image, from its reference to the record that it is here.

use std::io::Read;

use anyhow::{Context, bail, ensure};

use super::{Image, Listener, Lock, News, Record, Store};
use crate::{
    Digest, Reference,
    manifest::{Config, Descriptor, Manifest, SIZE_MAX, Top},
    platform::for_this_machine,
    source::{self, Source},
};

/// How often an index may lead to another one.
const INDEXES_MAX: usize = 3;

impl Store {
    /// Fetches and unpacks what is not here yet of an image.
    ///
    /// The caller must have only one thread when the last byte is here.
    ///
    /// # Errors
    /// It is not what it says it is, or can't be had.
    pub fn pull(
        &self,
        reference: &Reference,
        insecure: bool,
        listener: Listener,
    ) -> anyhow::Result<Image> {
        let no_prune = self.lock("store", Lock::Shared)?;
        let pull = |listener: Listener| {
            let mut source = source::open(reference, insecure)?;
            let (bytes, manifest) = manifest(&mut *source)?;
            let config_bytes = self.config(&mut *source, &manifest.config)?;
            let config = Config::parse(&config_bytes)?;
            if let Some(warning) = config.is_for_others() {
                listener(News::Note(&warning));
            }
            let layers = layers(&manifest, &config)?;
            for layer in &layers {
                self.fetch(&mut *source, layer, listener)?;
            }
            drop(source);
            self.unpack(&layers, listener)?;
            let record = Record {
                reference: reference.to_string(),
                manifest: Digest::of(&bytes),
                config: Digest::of(&config_bytes),
                layers: layers.into_iter().map(|it| it.chain_id).collect(),
                container: config.config,
            };
            self.write(&record)?;
            self.open_image(&record)
        };
        let pulled = pull(listener);
        let image = pulled.with_context(|| format!("pulling {reference}"))?;
        drop(no_prune);
        self.remove_blobs();
        Ok(image)
    }

    /// The configuration, which is small and not kept.
    fn config(
        &self,
        source: &mut dyn Source,
        it: &Descriptor,
    ) -> anyhow::Result<Vec<u8>> {
        let mut read = || {
            ensure!(it.size <= SIZE_MAX, "it is {} bytes long", it.size);
            let (body, from) = source.blob(it, 0)?;
            ensure!(from == 0, "it begins at {from}");
            let mut bytes = Vec::new();
            body.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
            it.digest.check(&bytes)?;
            Ok(bytes)
        };
        read().context("fetching the configuration")
    }
}

/// A layer of an image, and what it is called here.
pub(super) struct Layer {
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
    pub(super) chain_id: Digest,
}

/// The layers, from below.
fn layers(manifest: &Manifest, config: &Config) -> anyhow::Result<Vec<Layer>> {
    let diff_ids = &config.rootfs.diff_ids;
    ensure!(
        diff_ids.len() == manifest.layers.len(),
        "it has {} layers, and its configuration {}",
        manifest.layers.len(),
        diff_ids.len()
    );
    let mut layers: Vec<Layer> = Vec::new();
    for (blob, diff_id) in manifest.layers.iter().zip(diff_ids) {
        let chain_id = match layers.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{} {diff_id}", below.chain_id)),
        };
        let (blob, diff_id) = (blob.clone(), diff_id.clone());
        layers.push(Layer {
            blob,
            diff_id,
            chain_id,
        });
    }
    Ok(layers)
}

/// The manifest for this machine, with its bytes.
fn manifest(source: &mut dyn Source) -> anyhow::Result<(Vec<u8>, Manifest)> {
    let (mut bytes, digest) = source.top()?;
    digest.map_or(Ok(()), |it| it.check(&bytes))?;
    for _ in 0..INDEXES_MAX {
        let all = match Top::parse(&bytes)? {
            Top::Manifest(manifest) => return Ok((bytes, manifest)),
            Top::Index(all) => all,
        };
        let ours = for_this_machine(&all)?;
        bytes = source.manifest(ours)?;
        ours.digest.check(&bytes)?;
    }
    bail!("one index leads to the next")
}
