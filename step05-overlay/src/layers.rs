//! The directories that become one root file system.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use common::{
    rootfs::{directory, open_directory},
    xattr,
};
use nix::mount::{MsFlags, mount};

use crate::kept::{Kept, by_number};

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
pub struct OpenLayers {
    /// What is only read, from the top.
    pub lower: Vec<Lower>,
    /// What keeps the changes; else they go to memory.
    pub upper: Option<Kept>,
}

/// A directory that is only read.
pub struct Lower {
    /// An absolute path that has no symbolic links in it.
    pub path: PathBuf,
    /// The directory as a mount that is attached nowhere, for a container whose
    /// root could not reach `path`, or would own nothing there.
    pub mount: Option<OwnedFd>,
}

impl Layers {
    /// Finds the layers, after checking that all are directories.
    ///
    /// Creates the upper directory `DIR` if it does not exist. Call this as the
    /// user who shall own it, thus before
    /// [`become_root`](common::rootless::become_root).
    ///
    /// # Errors
    ///
    /// A directory does not exist or is not one; there are too many of them;
    /// `DIR` is open to others, or another container has it; a layer was
    /// written in the other dialect, of which root sees the marks.
    pub fn find(&self) -> anyhow::Result<OpenLayers> {
        // The root file system is the last one.
        let count = self.lower.len() + 1;
        ensure!(
            count <= LOWER_MAX,
            "{count} lower layers, with the root file system: overlay takes \
             {LOWER_MAX}"
        );
        let mut lower = Vec::new();
        for layer in &self.lower {
            let found = Lower::find(layer)
                .with_context(|| format!("using {layer:?} as a layer"))?;
            lower.push(found);
        }
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
    /// Takes the mounts away: the layers are as they are on the host.
    pub fn without_mounts(&mut self) {
        self.lower.iter_mut().for_each(|lower| lower.mount = None);
        self.upper.iter_mut().for_each(|kept| kept.mount = None);
    }
}

impl Lower {
    fn find(given: &Path) -> anyhow::Result<Lower> {
        check_dialect(open_directory(given)?)?;
        let path = directory(given)?;
        Ok(Lower { path, mount: None })
    }

    /// Opens the directory in the mount namespace that we are in.
    pub(crate) fn open(&self, place: &Path) -> anyhow::Result<OwnedFd> {
        match &self.mount {
            Some(mount) => attach(mount, place),
            None => open_directory(&self.path),
        }
    }
}

/// Attaches the mount `detached` and opens it there.
///
/// Until then it is in no mount namespace, and overlay takes only what is in
/// ours. Where it is attached does not matter, if the overlay covers that
/// `place`: nobody will look for it by a path. See open_tree(2).
pub(crate) fn attach(
    detached: &OwnedFd,
    place: &Path,
) -> anyhow::Result<OwnedFd> {
    let source = by_number(detached);
    let flags = MsFlags::MS_MOVE;
    mount(Some(&source), place, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("mount({source:?}, {place:?}, MS_MOVE)"))?;
    // It is the same mount as before, only at its place.
    detached.try_clone().context("dup(mount)")
}

/// Refuses a layer with marks `trusted.overlay.…`, which are not read here: the
/// files that they hide would come back.
///
/// Only root sees these marks. And only `layer` itself is looked at, not all
/// that is in it: where overlay has ever changed a directory of the image, its
/// parent has a mark, too, up to the top.
pub(crate) fn check_dialect(layer: impl AsFd) -> anyhow::Result<()> {
    let prefix = "trusted.overlay.";
    let other = xattr::any_begins_with(&by_number(&layer), prefix)
        .context("listxattr(layer)")?;
    ensure!(
        !other,
        "its marks are called {prefix}…, which is not read here; this program \
         writes user.overlay.…"
    );
    Ok(())
}
