//! `docker-archive:PATH`, what `docker save` and `podman save` write: one tar
//! with the layers in it, each a tar itself.
//!
//! It has no manifest with digests. One is made here from what the configuration
//! says; if a layer is another one, its digest will tell.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::json;

use super::{Source, open_file, read_small};
use crate::{
    Digest,
    apply::{NAMES_MAX, allowance::Allowance},
    digest::Hashing,
    manifest::{Config, Descriptor},
};

/// How many files such an archive may have.
const FILES_MAX: usize = 10_000;

/// How many links lead from one name to a layer.
const LINKS_MAX: usize = 10;

pub(super) struct Archive {
    path: PathBuf,
    /// Where each file begins, and how long it is.
    files: BTreeMap<PathBuf, (u64, u64)>,
    links: BTreeMap<PathBuf, PathBuf>,
    /// Which file has which digest.
    blobs: BTreeMap<Digest, PathBuf>,
}

/// The media type of a layer without compression.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What `manifest.json` says of an image.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

/// Opens the archive, and looks which files are where.
pub(super) fn open(path: &Path) -> anyhow::Result<Archive> {
    let mut archive = Archive {
        path: path.to_owned(),
        files: BTreeMap::new(),
        links: BTreeMap::new(),
        blobs: BTreeMap::new(),
    };
    archive
        .list()
        .with_context(|| format!("reading {path:?}"))?;
    Ok(archive)
}

impl Archive {
    fn list(&mut self) -> anyhow::Result<()> {
        let mut file = open_file(&self.path)?;
        expect_uncompressed(&mut file)?;
        let names = Allowance::new(NAMES_MAX);
        let mut tar = tar::Archive::new(names.reader(file));
        for entry in tar.entries_with_seek()? {
            let entry = entry?;
            names.set(NAMES_MAX);
            // Some begin with "./".
            let path = resolve(Path::new(""), &entry.path()?);
            let place = (entry.raw_file_position(), entry.size());
            // Docker of old had a link where two images have the same layer.
            if let Some(target) = entry.link_name()? {
                let target = resolve(&path, &target);
                self.links.insert(path, target);
            } else {
                self.files.insert(path, place);
            }
            ensure!(
                self.files.len() + self.links.len() <= FILES_MAX,
                "there are more than {FILES_MAX} files in it"
            );
        }
        Ok(())
    }

    /// Where a file begins, and how long it is.
    fn place(&self, name: &Path) -> anyhow::Result<(u64, u64)> {
        let mut end = name;
        for _ in 0..LINKS_MAX {
            end = self.links.get(end).map_or(end, PathBuf::as_path);
        }
        let place = self.files.get(end).copied();
        place.with_context(|| format!("it has no file {name:?}"))
    }

    fn read(
        &self,
        name: &Path,
        from: u64,
    ) -> anyhow::Result<impl Read + 'static> {
        let (start, size) = self.place(name)?;
        let from = from.min(size);
        let mut file: File = open_file(&self.path)?;
        file.seek(SeekFrom::Start(start + from))?;
        Ok(file.take(size - from))
    }

    /// What the media type of a layer says at its end. Since version 25 Docker
    /// saves some layers as they came.
    fn compression(&self, layer: &Path) -> anyhow::Result<&'static str> {
        let mut magic = Vec::new();
        self.read(layer, 0)?.take(4).read_to_end(&mut magic)?;
        Ok(match magic {
            it if it.starts_with(GZIP) => "+gzip",
            it if it.starts_with(ZSTD) => "+zstd",
            _ => "",
        })
    }

    fn only_image(&self) -> anyhow::Result<Entry> {
        let bytes = read_small(self.read(Path::new("manifest.json"), 0)?)?;
        let mut all: Vec<Entry> = serde_json::from_slice(&bytes)
            .context("its manifest.json is not as Docker writes it")?;
        ensure!(
            all.len() == 1,
            "there are {} images in it: save one of them alone",
            all.len()
        );
        Ok(all.remove(0))
    }

    /// A manifest as a registry would have it.
    fn make_manifest(&mut self) -> anyhow::Result<Vec<u8>> {
        let image = self.only_image()?;
        let config = read_small(self.read(&image.config, 0)?)?;
        let diff_ids = Config::parse(&config)?.rootfs.diff_ids;
        ensure!(
            diff_ids.len() == image.layers.len(),
            "it has {} layers, and its configuration {}",
            image.layers.len(),
            diff_ids.len()
        );
        let mut layers = Vec::new();
        for (digest, name) in diff_ids.into_iter().zip(image.layers) {
            let (_, size) = self.place(&name)?;
            let compression = self.compression(&name)?;
            // Then the configuration has the digest of what is in it.
            let digest = match compression {
                "" => digest,
                _ => Hashing::new(self.read(&name, 0)?).digest()?,
            };
            layers.push(json!({
                "mediaType": format!("{LAYER}{compression}"),
                "digest": digest.to_string(),
                "size": size,
            }));
            self.blobs.insert(digest, name);
        }
        let digest = Digest::of(&config);
        let config = json!({
            "digest": digest.to_string(),
            "size": config.len(),
        });
        self.blobs.insert(digest, image.config);
        let manifest = json!({ "config": config, "layers": layers });
        Ok(serde_json::to_vec(&manifest)?)
    }
}

/// It is read from here and there, which a compressed one can't be.
fn expect_uncompressed(file: &mut File) -> anyhow::Result<()> {
    let mut magic = [0; 4];
    // Whatever is shorter is no archive, and that is said later.
    let _ = file.read(&mut magic)?;
    file.rewind()?;
    ensure!(
        !magic.starts_with(GZIP) && !magic.starts_with(ZSTD),
        "it is compressed: unpack it first, by gunzip(1) or unzstd(1)"
    );
    Ok(())
}

/// What compressed files begin with.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Where a link in the archive leads, if it leads to something in it.
fn resolve(link: &Path, target: &Path) -> PathBuf {
    let mut path = link.parent().unwrap_or(Path::new("")).to_owned();
    for part in target.iter() {
        match part.as_encoded_bytes() {
            b".." => drop(path.pop()),
            b"." => {}
            _ => path.push(part),
        }
    }
    path
}

impl Source for Archive {
    fn top(&mut self) -> anyhow::Result<(Vec<u8>, Option<Digest>)> {
        let path = self.path.clone();
        let manifest = self.make_manifest();
        let manifest =
            manifest.with_context(|| format!("looking into {path:?}"))?;
        Ok((manifest, None))
    }

    fn manifest(&mut self, _: &Descriptor) -> anyhow::Result<Vec<u8>> {
        unreachable!("its top is no index")
    }

    fn blob(
        &mut self,
        it: &Descriptor,
        from: u64,
    ) -> anyhow::Result<(Box<dyn Read>, u64)> {
        let name = self
            .blobs
            .get(&it.digest)
            .with_context(|| format!("{:?} has no {}", self.path, it.digest))?;
        Ok((Box::new(self.read(name, from)?), from))
    }
}
