//! `dir:PATH`, as skopeo(1) writes it: the manifest and, beside it, each blob
//! under the digits of its digest.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{Source, file_blob, open_file, read_small};
use crate::{Digest, manifest::Descriptor};

pub(super) struct Directory(PathBuf);

pub(super) fn open(path: &Path) -> Directory {
    Directory(path.to_owned())
}

impl Directory {
    fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.0.join(name);
        read_small(open_file(&path)?)
            .with_context(|| format!("reading {path:?}"))
    }
}

impl Source for Directory {
    fn top(&mut self) -> anyhow::Result<(Vec<u8>, Option<Digest>)> {
        Ok((self.read("manifest.json")?, None))
    }

    fn manifest(&mut self, it: &Descriptor) -> anyhow::Result<Vec<u8>> {
        self.read(&format!("{}.manifest.json", it.digest.hex()))
    }

    fn blob(
        &mut self,
        it: &Descriptor,
        from: u64,
    ) -> anyhow::Result<(Box<dyn Read>, u64)> {
        file_blob(&self.0.join(it.digest.hex()), from)
    }
}
