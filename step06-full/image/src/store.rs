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
    env,
    fs::{self, DirBuilder, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use common::host::{PROJECT, paths::way_to};
use nix::unistd::{geteuid, syncfs};

use crate::{
    Digest, Reference,
    apply::{self, Limits},
    digest::Hashing,
    in_container,
    manifest::{
        Config, Container, Descriptor, Manifest, SIZE_MAX, Top,
        for_this_machine,
    },
    source::{self, Source},
};

mod records;

pub use records::Record;

/// How often an index may lead to another one.
const INDEXES_MAX: usize = 3;

/// The directory in which all this is.
pub struct Store {
    dir: PathBuf,
    /// What a layer may be unpacked to.
    pub limits: Limits,
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
            Ok(Store { dir, limits })
        };
        open().with_context(|| format!("opening the store of images {dir:?}"))
    }

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
            let config = self.config(&mut *source, &manifest.config)?;
            let config_bytes = config;
            let config = Config::parse(&config_bytes)?;
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

    /// Removes what was fetched and is unpacked by now, unless somebody else is
    /// at work, who may need it.
    fn remove_blobs(&self) {
        let Ok(alone) = self.open_lock("store") else {
            return;
        };
        if alone.try_lock().is_err() {
            return;
        }
        let blobs = fs::read_dir(self.dir.join("blobs"));
        for blob in blobs.into_iter().flatten().flatten() {
            if blob.path().extension().is_none() {
                // It would only take room.
                let _ = fs::remove_file(blob.path());
            }
        }
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

    /// Fetches the bytes of a layer, unless they are here, be it unpacked. Goes
    /// on where an earlier try ended.
    fn fetch(
        &self,
        source: &mut dyn Source,
        layer: &Layer,
        listener: Listener,
    ) -> anyhow::Result<()> {
        let it = &layer.blob;
        let limit = self.limits.bytes;
        ensure!(it.size <= limit, "a layer has more than {limit} bytes");
        let path = self.blob_path(&it.digest);
        let mut fetch = || {
            // Somebody else who fetches it is waited for.
            let _lock = self.lock(it.digest.hex(), Lock::Exclusive)?;
            if path.exists() || self.has(layer) {
                return Ok(());
            }
            let partial = path.with_extension("partial");
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&partial)?;
            let have = match file.metadata()?.len() {
                length if length < it.size => length,
                _ => 0,
            };
            let (body, from) = source.blob(it, have)?;
            file.set_len(from)?;
            file.seek(SeekFrom::Start(from))?;
            let mut body = Counting {
                inner: body.take((it.size - from).saturating_add(1)),
                done: from,
                it,
                listener,
            };
            io::copy(&mut body, &mut file)?;
            if let Err(error) = check(&mut file, it) {
                fs::remove_file(&partial)?;
                return Err(error);
            }
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            Ok(())
        };
        fetch().with_context(|| format!("fetching {}", it.digest))
    }

    /// Unpacks the layers that are missing, from below.
    fn unpack(
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

    fn unpack_one(
        &self,
        layer: &Layer,
        below: &[PathBuf],
        listener: Listener,
    ) -> anyhow::Result<()> {
        let lock = layer_lock(&layer.chain_id);
        let _lock = self.lock(&lock, Lock::Exclusive)?;
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
        if unpacked.is_err() {
            // What is wrong with it may be ours: the next try fetches it anew.
            let _ = fs::remove_file(&blob);
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

    fn has(&self, layer: &Layer) -> bool {
        self.layer_path(&layer.chain_id).exists()
    }

    fn layer_path(&self, chain_id: &Digest) -> PathBuf {
        self.dir.join("layers").join(chain_id.hex())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.hex())
    }

    /// Removes a directory of the store, of which files may belong to others than
    /// us.
    fn remove_dir(&self, path: &Path) -> anyhow::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        in_container::as_owner(&mut |_| {}, |_, _| {
            Ok(fs::remove_dir_all(path)?)
        })
        .with_context(|| format!("removing {path:?}"))
    }

    /// Waits for a lock; it lasts as long as the file is open.
    fn lock(&self, name: &str, lock: Lock) -> anyhow::Result<File> {
        let file = self.open_lock(name)?;
        match lock {
            Lock::Shared => file.lock_shared(),
            Lock::Exclusive => file.lock(),
        }
        .with_context(|| format!("flock({name:?})"))?;
        Ok(file)
    }

    fn open_lock(&self, name: &str) -> anyhow::Result<File> {
        let path = self.dir.join("locks").join(name);
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("open({path:?}, O_WRONLY|O_CREAT)"))
    }
}

/// What whoever uses a layer has locked.
fn layer_lock(chain_id: &Digest) -> String {
    format!("layer-{}", chain_id.hex())
}

enum Lock {
    Shared,
    Exclusive,
}

/// A layer of an image, and what it is called here.
struct Layer {
    blob: Descriptor,
    diff_id: Digest,
    chain_id: Digest,
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

/// Checks what was fetched.
fn check(file: &mut File, it: &Descriptor) -> anyhow::Result<()> {
    let length = file.metadata()?.len();
    ensure!(
        length <= it.size,
        "there is more of it than the {} bytes that it should have",
        it.size
    );
    file.seek(SeekFrom::Start(0))?;
    let is = Hashing::new(file).digest()?;
    let should = &it.digest;
    ensure!(
        length == it.size && is == *should,
        "its digest should be {should}, and of the {length} bytes that came \
         it is {is}"
    );
    Ok(())
}

/// Reads, and says how much.
struct Counting<'a, R> {
    inner: R,
    done: u64,
    it: &'a Descriptor,
    listener: Listener<'a>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.done += length as u64;
        (self.listener)(News::Fetching {
            digest: &self.it.digest,
            done: self.done,
            size: self.it.size,
        });
        Ok(length)
    }
}

/// See the XDG Base Directory Specification.
fn data_home() -> anyhow::Result<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .context(
            "no place for images: neither XDG_DATA_HOME nor HOME is an \
             absolute path",
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
