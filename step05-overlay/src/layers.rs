//! The directories that become one root file system.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use common::{
    rootfs::{directory, open_directory},
    xattr,
};

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
    /// Absolute paths that have no symbolic links in them.
    pub lower: Vec<PathBuf>,
    /// What keeps the changes; else they go to memory.
    pub upper: Option<Kept>,
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
            let found = find_lower(layer)
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
    /// The directories that are only read, with `root` as the lowest: a
    /// container in a user namespace must see them with its own ids. What lies
    /// in another one comes after it.
    pub fn paths<'a>(&'a self, root: &'a Path) -> Vec<&'a Path> {
        let lower = self.lower.iter().map(PathBuf::as_path);
        let mut paths: Vec<_> = lower.chain([root]).collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

fn find_lower(given: &Path) -> anyhow::Result<PathBuf> {
    check_dialect(open_directory(given)?)?;
    directory(given)
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
