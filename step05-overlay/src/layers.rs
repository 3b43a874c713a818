//! The directories that become one root file system.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use common::{
    host::{
        files::{by_number, path_of},
        paths::open_past_links,
    },
    sys::xattr,
};

use crate::kept::{Kept, attach, open_same};

/// The kernel stacks no more lower layers: OVL_MAX_STACK in its sources.
const LOWER_MAX: usize = 500;

/// The layers above the root file system: options, and what becomes of them.
#[derive(clap::Args, Clone, Debug)]
pub struct Layers {
    /// Layer above the root file system; the first of several is on top
    #[arg(long, value_name = "DIR")]
    pub lower: Vec<PathBuf>,
    /// Keep what the container writes, in DIR/upper [default: keep nothing]
    #[arg(long, value_name = "DIR")]
    pub upper: Option<PathBuf>,
}

/// The layers, found. Keep it until the container has ended: a [`Kept`] layer
/// is locked for as long, and put in order afterwards.
#[derive(Default)]
pub struct OpenLayers {
    /// What is only read, from the top; the last one is the root file system.
    pub(crate) lower: Vec<Lower>,
    /// What keeps the changes; else they go to memory.
    pub(crate) upper: Option<Kept>,
}

/// A directory that is only read.
pub(crate) struct Lower {
    /// What was found, open. Its path may lead elsewhere by now.
    directory: OwnedFd,
    /// Absolute, and without symbolic links.
    path: PathBuf,
    /// It is open as a mount that is attached nowhere, for a container whose
    /// root could not reach `path`, or would own nothing there.
    is_detached: bool,
}

impl Layers {
    /// Finds the layers above `root`, after checking that all are directories.
    ///
    /// Creates the upper directory `DIR` if it does not exist. Call this as the
    /// user who shall own it, thus before
    /// [`become_root`](common::rootless::become_root).
    ///
    /// # Errors
    /// There are too many directories; `DIR` is open to others, or another
    /// container has it; a layer was written in the other dialect, of which
    /// root sees the marks.
    pub fn find(&self, root: &Path) -> anyhow::Result<OpenLayers> {
        let count = self.lower.len() + 1;
        ensure!(
            count <= LOWER_MAX,
            "{count} lower layers, with the root file system: overlay takes \
             {LOWER_MAX}"
        );
        let mut lower = Vec::new();
        for layer in &self.lower {
            let aim = || format!("using {layer:?} as a layer");
            let found = Lower::find(layer).with_context(aim)?;
            check_dialect(&found.directory).with_context(aim)?;
            lower.push(found);
        }
        lower.push(Lower::find(root)?);
        let upper = self.upper.as_ref().map(|upper| {
            Kept::open(upper).with_context(|| {
                format!("using {upper:?} as the upper directory")
            })
        });
        let upper = upper.transpose()?;
        Ok(OpenLayers { lower, upper })
    }
}

impl OpenLayers {
    /// Takes a mount of each layer by `copy`, which is given its number as a path:
    /// a container in a user namespace must see them with its own ids.
    pub fn take_mounts(
        &mut self,
        copy: impl Fn(&Path) -> anyhow::Result<OwnedFd>,
    ) -> anyhow::Result<()> {
        // Not by their paths: other users may have changed what is there.
        for lower in &mut self.lower {
            lower.directory =
                copy(&by_number(&lower.directory)).with_context(|| {
                    format!("copying the mount of {:?}", lower.path)
                })?;
            lower.is_detached = true;
        }
        if let Some(kept) = &mut self.upper {
            let mount = copy(&kept.by_number()).with_context(|| {
                format!("copying the mount of {:?}", kept.path())
            })?;
            kept.mount = Some(mount);
        }
        Ok(())
    }

    /// The mounts that were taken, each with the path that it was taken from.
    pub fn mounts<'a>(
        &'a self,
    ) -> impl Iterator<Item = (&'a Path, &'a OwnedFd)> {
        let lower = self.lower.iter().filter(|lower| lower.is_detached);
        let lower = lower.map(|lower| (lower.path.as_path(), &lower.directory));
        let mount = |kept: &'a Kept| Some((kept.path(), kept.mount.as_ref()?));
        lower.chain(self.upper.iter().filter_map(mount))
    }
}

impl Lower {
    fn find(given: &Path) -> anyhow::Result<Lower> {
        let directory = open_past_links(given)?;
        Ok(Lower {
            path: path_of(&directory)?,
            directory,
            is_detached: false,
        })
    }

    /// The directory, as the process that mounts must open it: the descriptors
    /// of our parent belong to mounts of its namespace, where overlay finds
    /// fault with them (EINVAL).
    ///
    /// A mount that is attached nowhere is in no namespace: it has to be
    /// attached in ours, and `place` will do, since the overlay covers it.
    pub(crate) fn open(&self, place: &Path) -> anyhow::Result<OwnedFd> {
        match self.is_detached {
            true => Ok(attach(&self.directory, place)?),
            false => open_same(&self.path, &self.directory),
        }
    }
}

/// Refuses a layer with marks `trusted.overlay.…`, which are not read here: the
/// files that they hide would come back.
///
/// Only root sees these marks. And only `layer` itself is looked at, not all
/// that is in it: where overlay has ever changed a directory of the image, its
/// parent has a mark, too, up to the top.
pub(crate) fn check_dialect(layer: impl AsFd) -> anyhow::Result<()> {
    let prefix = "trusted.overlay.";
    let other = xattr::any_begins_with(&by_number(&layer), prefix)?;
    ensure!(
        !other,
        "its marks are called {prefix}…, which is not read here; this program \
         writes user.overlay.…"
    );
    Ok(())
}
