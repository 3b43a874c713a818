//! The bytes of a layer.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
};

use anyhow::{Context, ensure};

use super::{Listener, Lock, News, Store, pull::Layer};
use crate::{digest::Hashing, manifest::Descriptor, source::Source};

impl Store {
    /// Fetches the bytes of a layer, unless they are here, be it unpacked. Goes
    /// on where an earlier try ended.
    pub(super) fn fetch(
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

    /// Removes what was fetched and is unpacked by now, unless somebody else is
    /// at work, who may need it.
    pub(super) fn remove_blobs(&self) {
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
