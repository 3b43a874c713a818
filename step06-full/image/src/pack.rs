//! From a directory to a layer: what [`apply`](crate::apply) does, backwards.
//!
//! The directory is what overlay has kept of a container, with the kernel's
//! marks in it. A layer has files in their place, and `.wh.` in their names.
//!
//! The container may run, and put a link where a directory was. So nothing is
//! opened by its path: each directory is opened once, and all else by its name
//! in there. See layer.md of the image specification.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::Context;
use common::{
    errors,
    host::files::{by_number, file_type},
    sys::{self, xattr},
};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag},
    sys::stat::{FileStat, SFlag},
};
use tar::{EntryType, Header};

/// What the name of a mark begins with.
const MARK: &str = ".wh.";

/// In a directory: nothing of the layers below is in it.
const OPAQUE: &str = ".wh..wh..opq";

/// An archive that is written.
pub(crate) struct Packer<W: Write> {
    archive: tar::Builder<W>,
    /// Files with several names: the first one of each.
    linked: HashMap<(u64, u64), PathBuf>,
}

/// A directory that is read. Not by recursion: it may be deeper than our stack.
pub(crate) struct Directory {
    pub(crate) file: OwnedFd,
    /// What is still to be read in it.
    pub(crate) names: Vec<OsString>,
    path: PathBuf,
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(to: W) -> Packer<W> {
        Packer {
            archive: tar::Builder::new(to),
            linked: HashMap::new(),
        }
    }

    /// Adds all that is in `dir`.
    pub(crate) fn add(mut self, dir: &Path) -> anyhow::Result<W> {
        let top = sys::open(dir, OFlag::O_DIRECTORY, 0)?;
        let mut levels = vec![Directory::open(top, PathBuf::new())?];
        while let Some(directory) = levels.last_mut() {
            let Some(name) = directory.names.pop() else {
                levels.pop();
                continue;
            };
            let path = directory.path.join(&name);
            match self.add_one(&directory.file, &name, &path) {
                Err(error) if is_another_by_now(&error) => {}
                below => levels.extend(
                    below.with_context(|| format!("packing {path:?}"))?,
                ),
            }
        }
        Ok(self.archive.into_inner()?)
    }

    /// Adds what is called `name` in `parent`; a directory is returned, for
    /// what is in it.
    fn add_one(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> anyhow::Result<Option<Directory>> {
        // It would be taken for a mark.
        if name.as_encoded_bytes().starts_with(MARK.as_bytes()) {
            return Ok(None);
        }
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        let status = sys::fstatat(parent, name, flags)?;
        match file_type(&status) {
            SFlag::S_IFDIR => {
                let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
                let opened = sys::openat(parent, name, flags, 0)?;
                self.directory(&opened, path)?;
                return Directory::open(opened, path.to_owned()).map(Some);
            }
            SFlag::S_IFREG => self.file(parent, name, path)?,
            SFlag::S_IFLNK => {
                let target = sys::readlinkat(parent, name)?;
                let mut header = header(&status, EntryType::Symlink);
                self.archive.append_link(&mut header, path, target)?;
            }
            // The mark of a deleted file. All other devices are left out.
            SFlag::S_IFCHR if status.st_rdev == 0 => {
                let mut mark = OsString::from(MARK);
                mark.push(name);
                self.mark(&status, &path.with_file_name(mark))?;
            }
            _ => {}
        }
        Ok(None)
    }

    fn directory(&mut self, it: &OwnedFd, path: &Path) -> anyhow::Result<()> {
        let status = sys::fstat(it)?;
        let mut header = header(&status, EntryType::Directory);
        self.archive.append_data(&mut header, path, &[][..])?;
        match xattr::is(it, c"user.overlay.opaque", b"y")? {
            true => self.mark(&status, &path.join(OPAQUE)),
            false => Ok(()),
        }
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> anyhow::Result<()> {
        // It may be a pipe by now, and nobody writes to it.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let opened = sys::openat(parent, name, flags, 0)?;
        let status = sys::fstat(&opened)?;
        if file_type(&status) != SFlag::S_IFREG {
            return Ok(());
        }
        let identity = (status.st_dev, status.st_ino);
        if status.st_nlink > 1 {
            if let Some(first) = self.linked.get(&identity) {
                let mut header = header(&status, EntryType::Link);
                self.archive.append_link(&mut header, path, first)?;
                return Ok(());
            }
            self.linked.insert(identity, path.to_owned());
        }
        let mut header = header(&status, EntryType::Regular);
        let size = u64::try_from(status.st_size)?;
        header.set_size(size);
        // As much as was said: it may grow, or shrink.
        let whole = File::from(opened).chain(std::io::repeat(0)).take(size);
        self.archive.append_data(&mut header, path, whole)?;
        Ok(())
    }

    fn mark(&mut self, status: &FileStat, path: &Path) -> anyhow::Result<()> {
        let mut header = header(status, EntryType::Regular);
        self.archive.append_data(&mut header, path, &[][..])?;
        Ok(())
    }
}

/// Whether a container that runs has removed meanwhile what was to be read, or
/// has put something of another type in its place: a link is no directory, is
/// not followed, and what is no link has no target. Nothing of it is in the
/// archive then.
pub(crate) fn is_another_by_now(error: &anyhow::Error) -> bool {
    matches!(
        errors::errno(error),
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EINVAL)
    )
}

impl Directory {
    pub(crate) fn open(
        file: OwnedFd,
        path: PathBuf,
    ) -> anyhow::Result<Directory> {
        let mut names = sys::readdir(by_number(&file.as_fd()))?;
        // In an order that is always the same: so is the digest then.
        names.sort_by(|one, other| other.cmp(one));
        Ok(Directory { file, names, path })
    }
}

fn header(status: &FileStat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(status.st_mode & 0o7777);
    header.set_uid(status.st_uid.into());
    header.set_gid(status.st_gid.into());
    header.set_mtime(u64::try_from(status.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}
