//! `oci:PATH[:TAG]`: the image layout of the OCI, in which `index.json` says
//! which digest a tag means. See image-layout.md of the image specification.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{Source, file_blob, open_file, read_small};
use crate::{
    Digest,
    manifest::{Descriptor, Top},
};

/// What a descriptor in the index is called.
const NAME: &str = "org.opencontainers.image.ref.name";

pub(super) struct Layout {
    dir: PathBuf,
    tag: Option<String>,
}

pub(super) fn open(dir: &Path, tag: Option<&str>) -> Layout {
    let (dir, tag) = (dir.to_owned(), tag.map(str::to_owned));
    Layout { dir, tag }
}

impl Layout {
    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }
}

impl Source for Layout {
    fn top(&mut self) -> anyhow::Result<(Vec<u8>, Option<Digest>)> {
        let path = self.dir.join("index.json");
        let index = read_small(open_file(&path)?)
            .and_then(|bytes| Top::parse(&bytes))
            .with_context(|| format!("reading {path:?}"))?;
        let Top::Index(all) = index else {
            bail!("{path:?} is not an index");
        };
        let found = choose(&all, self.tag.as_deref())
            .with_context(|| format!("looking into {path:?}"))?;
        Ok((self.manifest(found)?, Some(found.digest.clone())))
    }

    fn manifest(&mut self, it: &Descriptor) -> anyhow::Result<Vec<u8>> {
        read_small(open_file(&self.path(&it.digest))?)
    }

    fn blob(
        &mut self,
        it: &Descriptor,
        from: u64,
    ) -> anyhow::Result<(Box<dyn Read>, u64)> {
        file_blob(&self.path(&it.digest), from)
    }
}

/// The image of that tag; without one the only image that is there, or
/// `latest`.
fn choose<'a>(
    all: &'a [Descriptor],
    tag: Option<&str>,
) -> anyhow::Result<&'a Descriptor> {
    if let ([one], None) = (all, tag) {
        return Ok(one);
    }
    let tag = tag.unwrap_or("latest");
    let name = |it: &'a Descriptor| it.annotations.get(NAME);
    let found = all.iter().find(|it| name(it).is_some_and(|it| it == tag));
    found.with_context(|| {
        let tags: Vec<&str> =
            all.iter().filter_map(name).map(String::as_str).collect();
        format!("there is no tag {tag:?}, only: {}", tags.join(", "))
    })
}
