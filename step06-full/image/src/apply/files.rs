//! Single files of a layer, as they are put into the image.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{PermissionsExt, lchown},
    path::{Component, Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use tar::{Entry, EntryType};

use crate::in_container::Owners;

/// Ids inside a container are below this.
const IDS: u32 = 65536;

pub(super) struct Directory {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) modified: Duration,
}

impl Directory {
    pub(super) fn finish(&self, path: &Path, owners: Owners) -> io::Result<()> {
        let (uid, gid) = self.owner;
        if owners == Owners::All {
            lchown(path, Some(uid), Some(gid))?;
        }
        let mode = fs::Permissions::from_mode(self.mode);
        fs::set_permissions(path, mode)?;
        // A time that there is not is that of nobody.
        let modified = UNIX_EPOCH.checked_add(self.modified);
        File::open(path)?.set_modified(modified.unwrap_or(UNIX_EPOCH))
    }
}

/// Unpacks what is not a directory. What is in the way goes, and is not written
/// to: it could be a link.
pub(super) fn unpack(
    entry: &mut Entry<impl Read>,
    path: &Path,
) -> anyhow::Result<()> {
    let is_itself = entry.header().entry_type() == EntryType::Link
        && entry.link_name()?.is_some_and(|target| {
            inside(&target).is_ok_and(|target| target == path)
        });
    ensure!(!is_itself, "it is a hard link to itself");
    remove(path)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // Wherever links lead, it is in the image: nothing else is here.
    match (entry.header().entry_type(), entry.link_name()?) {
        (EntryType::Link, Some(target)) => {
            Ok(fs::hard_link(inside(&target)?, path)?)
        }
        _ => {
            entry.unpack(path)?;
            Ok(())
        }
    }
}

/// Whose the file is to be.
pub(super) fn owner(entry: &Entry<impl Read>) -> anyhow::Result<(u32, u32)> {
    let id = |id: u64| {
        let known = u32::try_from(id).ok().filter(|id| *id < IDS);
        known.with_context(|| {
            let last = IDS - 1;
            format!("it belongs to {id}: a container has the ids 0 to {last}")
        })
    };
    let header = entry.header();
    Ok((id(header.uid()?)?, id(header.gid()?)?))
}

/// How many bytes of the archive hold the data: of a file with holes, fewer than
/// it has itself.
pub(super) fn stored(entry: &Entry<impl Read>) -> io::Result<u64> {
    let size = match entry.header().entry_type() {
        EntryType::GNUSparse => entry.header().entry_size()?,
        _ => entry.size(),
    };
    Ok(size.saturating_add(BLOCK))
}

/// What each file in an archive is filled up to.
const BLOCK: u64 = 512;

/// What else an archive says of a file, as far as it matters. See pax(1).
#[derive(Default)]
pub(super) struct Extensions {
    /// It is to have capabilities, see capabilities(7), "File capabilities". They
    /// are an attribute, as star(1) has begun to write them.
    pub(super) capabilities: bool,
    /// Its data has a list in it of where there is none: it would be unpacked
    /// with that. (What `tar --sparse` writes otherwise is a kind of file, and
    /// known.)
    pub(super) holes: bool,
}

impl Extensions {
    pub(super) fn of(entry: &mut Entry<impl Read>) -> io::Result<Extensions> {
        const CAPABILITY: &[u8] = b"SCHILY.xattr.security.capability";
        const SPARSE: &[u8] = b"GNU.sparse.";
        let mut found = Extensions::default();
        for it in entry.pax_extensions()?.into_iter().flatten().flatten() {
            found.capabilities |= it.key_bytes() == CAPABILITY;
            found.holes |= it.key_bytes().starts_with(SPARSE);
        }
        Ok(found)
    }
}

/// How many directories may be in one another.
const DEPTH_MAX: usize = 256;

/// `path` as an absolute one.
pub(super) fn inside(path: &Path) -> anyhow::Result<PathBuf> {
    let mut inside = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::ParentDir => bail!("{path:?} leads upwards"),
            _ => {}
        }
    }
    let depth = inside.components().count() - 1;
    ensure!(depth <= DEPTH_MAX, "{depth} directories are in one another");
    Ok(inside)
}

/// Whether it is a directory itself, and not a link to one.
pub(super) fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|it| it.is_dir())
}

pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(it) if it.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.with_context(|| format!("removing {path:?}"))
}
