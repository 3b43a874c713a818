//! Where the bytes of an image come from. Nothing that a source says is
//! believed: whoever asks checks the digests.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, ensure};

use crate::{
    Digest, Reference,
    manifest::{Descriptor, SIZE_MAX},
};

mod archive;
mod directory;
mod layout;
mod registry;

/// Somebody who has images.
pub trait Source {
    /// The manifest or index that the reference names, and the digest that it
    /// must have, if the reference has one.
    ///
    /// # Errors
    /// There is no such image.
    fn top(&mut self) -> anyhow::Result<(Vec<u8>, Option<Digest>)>;

    /// Another manifest of the same image.
    ///
    /// # Errors
    /// It is not there.
    fn manifest(&mut self, it: &Descriptor) -> anyhow::Result<Vec<u8>>;

    /// The bytes of a configuration or a layer, beginning with number `from` or
    /// before it; and the number that they begin with.
    ///
    /// # Errors
    /// It is not there.
    fn blob(
        &mut self,
        it: &Descriptor,
        from: u64,
    ) -> anyhow::Result<(Box<dyn Read>, u64)>;
}

/// Opens the source of `reference`. A registry that has no certificate is
/// talked to if it is on this machine, or if `insecure` is set.
///
/// # Errors
/// There is no such file.
pub fn open(
    reference: &Reference,
    insecure: bool,
) -> anyhow::Result<Box<dyn Source>> {
    Ok(match reference {
        Reference::Directory(path) => Box::new(directory::open(path)),
        Reference::Layout(path, tag) => {
            Box::new(layout::open(path, tag.as_deref()))
        }
        Reference::Archive(path) => Box::new(archive::open(path)?),
        Reference::Registry(registry) => {
            Box::new(registry::open(registry, insecure)?)
        }
    })
}

/// Opens a file of an image, which must be one: to open a pipe would wait for
/// whoever writes to it.
fn open_file(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .with_context(|| format!("open({path:?}, O_RDONLY|O_NONBLOCK)"))?;
    let is_file = file.metadata().is_ok_and(|it| it.is_file());
    ensure!(is_file, "{path:?} is no file");
    Ok(file)
}

/// Reads one of the small files.
fn read_small(from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= SIZE_MAX,
        "it is longer than {SIZE_MAX} bytes"
    );
    Ok(bytes)
}

/// A blob that is a file.
fn file_blob(path: &Path, from: u64) -> anyhow::Result<(Box<dyn Read>, u64)> {
    let mut file = open_file(path)?;
    file.seek(SeekFrom::Start(from))
        .with_context(|| format!("lseek({path:?}, {from})"))?;
    Ok((Box::new(file), from))
}
