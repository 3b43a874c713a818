//! What was fetched and unpacked: once, for all images and all containers.
//!
//! ```text
//! STORE/blobs/HEX      bytes as fetched, until they are unpacked
//! STORE/layers/HEX/    a layer, unpacked; named by its chain id
//! STORE/images/NAME    which layers an image has, and its configuration
//! STORE/locks/…        who is at work on what
//! ```
//!
//! A layer is unpacked onto those below it, so that what it is depends on them:
//! its name is made of all of theirs. See config.md of the image specification,
//! "Layer ChainID".
//!
//! Whatever becomes a part of the store is made beside it and renamed, so that
//! it is there completely or not at all. The store is closed to other users:
//! set-uid programs in it are real.

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use common::host::{PROJECT, base_directory, paths::way_to};
use nix::unistd::geteuid;

use crate::{Digest, Reference, apply::Limits, manifest::Container};

mod commit;
mod fetch;
mod locks;
mod pull;
mod records;
mod unpack;

use locks::{Lock, layer_lock};
use pull::Layer;
pub use records::Record;

/// The directory in which all this is.
pub struct Store {
    dir: PathBuf,
    /// What a layer may be unpacked to.
    pub limits: Limits,
    /// Hears whom somebody waits for.
    pub on_wait: fn(&str),
}

/// An image, ready to be used. Nobody removes it as long as this is there.
#[derive(Debug)]
pub struct Image {
    /// Its directories, from below; there is at least one.
    pub layers: Vec<PathBuf>,
    /// What a container of it is to be like.
    pub container: Container,
    /// A shared lock on each layer.
    _in_use: Vec<File>,
}

/// What happens while an image is fetched.
#[derive(Debug)]
pub enum News<'a> {
    /// So many bytes are here.
    Fetching {
        /// What is fetched.
        digest: &'a Digest,
        /// In bytes.
        done: u64,
        /// All of it.
        size: u64,
    },
    /// All bytes of a layer are here.
    Unpacking {
        /// The layer.
        digest: &'a Digest,
    },
    /// Something to be known, in words.
    Note(&'a str),
}

/// Who wants to know.
pub type Listener<'a> = &'a mut dyn FnMut(News);

impl Store {
    /// The caller's store: `/var/lib/container-in-six-steps` for root, else in
    /// `$XDG_DATA_HOME` or `~/.local/share`. It is made if it is missing.
    ///
    /// # Errors
    /// It can't be made, or others could change what is in it.
    pub fn of_caller() -> anyhow::Result<Store> {
        let data = match geteuid().is_root() {
            true => PathBuf::from("/var/lib"),
            false => data_home()?,
        };
        Store::open(&data.join(PROJECT))
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// The store in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// As [`Store::of_caller`].
    pub fn open(dir: &Path) -> anyhow::Result<Store> {
        let open = || {
            make_dir(dir)?;
            let dir = way_to(&std::path::absolute(dir)?)?;
            let uid = fs::metadata(&dir)?.uid();
            ensure!(
                uid == geteuid().as_raw(),
                "it belongs to user {uid}, not to {}",
                geteuid()
            );
            // It may be somebody's, such as /tmp: then it is not ours to close.
            let mode = fs::metadata(&dir)?.mode() & 0o7777;
            ensure!(
                mode & 0o077 == 0,
                "it is open to others (mode {mode:04o}), and the set-uid \
                 programs of images are real: name a new directory, or \
                 chmod 700 it"
            );
            for part in ["blobs", "layers", "images", "locks", "empty"] {
                make_dir(&dir.join(part))?;
            }
            // It is the "/" of an image that has none of its own.
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(dir.join("empty"), mode)?;
            let limits = Limits::default();
            let on_wait = |_: &str| {};
            Ok(Store {
                dir,
                limits,
                on_wait,
            })
        };
        open().with_context(|| format!("opening the store of images {dir:?}"))
    }

    /// An image that is here already.
    ///
    /// # Errors
    /// What is known of it can't be read.
    pub fn find(&self, reference: &Reference) -> anyhow::Result<Option<Image>> {
        let _no_prune = self.lock("store", Lock::Shared)?;
        let record = self.record(&reference.to_string())?;
        record.map(|it| self.open_image(&it)).transpose()
    }

    /// Marks the layers as used, from below.
    fn open_image(&self, record: &Record) -> anyhow::Result<Image> {
        let mut layers = vec![self.dir.join("empty")];
        let mut in_use = Vec::new();
        for chain_id in &record.layers {
            let path = self.layer_path(chain_id);
            let lock = self.lock(&layer_lock(chain_id), Lock::Shared)?;
            ensure!(path.exists(), "the layer {path:?} is gone");
            in_use.push(lock);
            layers.push(path);
        }
        Ok(Image {
            layers,
            container: record.container.clone(),
            _in_use: in_use,
        })
    }

    fn has(&self, layer: &Layer) -> bool {
        self.layer_path(&layer.chain_id).exists()
    }

    fn layer_path(&self, chain_id: &Digest) -> PathBuf {
        self.dir.join("layers").join(chain_id.hex())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.hex())
    }
}

fn data_home() -> anyhow::Result<PathBuf> {
    base_directory("XDG_DATA_HOME", ".local/share").context(
        "no place for images: neither XDG_DATA_HOME nor HOME is an absolute \
         path",
    )
}

/// Makes a directory that is closed to others, with those above it.
fn make_dir(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("mkdir({path:?}, 0700)"))
}
