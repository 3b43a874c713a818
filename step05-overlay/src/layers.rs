//! The directories that become one root file system.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use common::rootfs::{directory, open_directory};

/// The kernel stacks no more lower layers: OVL_MAX_STACK in its sources.
const LOWER_MAX: usize = 500;

/// The layers above the root file system: options, and what becomes of them.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Layers {
    /// Layer above the root file system; the first of several is on top
    #[arg(long, value_name = "DIR")]
    pub lower: Vec<PathBuf>,
    /// Keep what the container writes in DIR (the kernel works in DIR.work)
    /// [default: keep nothing]
    #[arg(long, value_name = "DIR")]
    pub upper: Option<PathBuf>,
}

impl Layers {
    /// Returns the layers with absolute paths that have no symbolic links in
    /// them, after checking that all are directories.
    ///
    /// Creates the upper directory `DIR` if it does not exist, and beside it
    /// `DIR.work`, where the kernel prepares what it then moves to `DIR`. That
    /// one belongs to the kernel: do not use it. Call this as the user who
    /// shall own them, thus before
    /// [`become_root`](common::rootless::become_root).
    ///
    /// # Errors
    ///
    /// A directory does not exist or is not one; there are too many of them;
    /// `DIR` is a mount point, so that `DIR.work` is on another file system.
    pub fn find(&self) -> anyhow::Result<Layers> {
        // The root file system is the last one.
        let count = self.lower.len() + 1;
        ensure!(
            count <= LOWER_MAX,
            "{count} lower layers, with the root file system: overlay takes \
             {LOWER_MAX}"
        );
        let mut found = Layers::default();
        for lower in &self.lower {
            let lower = directory(lower)
                .with_context(|| format!("using {lower:?} as a layer"))?;
            found.lower.push(lower);
        }
        if let Some(upper) = &self.upper {
            let upper = make_upper(upper).with_context(|| {
                format!("using {upper:?} as the upper directory")
            })?;
            found.upper = Some(upper);
        }
        Ok(found)
    }

    /// The directories that a container in a user namespace must see with its
    /// own ids: all layers, with `root` as the lowest, and the parent of the
    /// upper directory. What lies in another one comes after it.
    ///
    /// It is the parent because overlay wants upperdir and workdir on the same
    /// *mount*: two mounts of the two would be `EINVAL`.
    pub fn paths<'a>(&'a self, root: &'a Path) -> Vec<&'a Path> {
        let lower = self.lower.iter().map(PathBuf::as_path);
        let upper = self.upper.iter().filter_map(|upper| upper.parent());
        let mut paths: Vec<_> = lower.chain(upper).chain([root]).collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

/// Creates the upper directory and its workdir where they are missing. Returns
/// the canonical path of the first.
fn make_upper(given: &Path) -> anyhow::Result<PathBuf> {
    make_directory(given, 0o755)?;
    let upperdir = directory(given)?;
    let workdir = workdir_of(&upperdir)?;
    ensure!(
        device(&upperdir)? == device(&upperdir.join(".."))?,
        "it is a mount point, so {workdir:?} would be on another file system; \
         choose a directory below it"
    );
    make_directory(&workdir, 0o700)?;
    open_directory(&workdir)?;
    Ok(upperdir)
}

/// The directory beside `upperdir` in which the kernel works.
pub(crate) fn workdir_of(upperdir: &Path) -> anyhow::Result<PathBuf> {
    let name = upperdir.file_name();
    let mut name = name.context("it is the root directory")?.to_owned();
    name.push(".work");
    Ok(upperdir.with_file_name(name))
}

fn device(path: &Path) -> anyhow::Result<u64> {
    let metadata =
        fs::metadata(path).with_context(|| format!("stat({path:?})"))?;
    Ok(metadata.dev())
}

/// Creates the directory `dir`, with exactly this mode, if nothing is there.
pub(crate) fn make_directory(dir: &Path, mode: u32) -> anyhow::Result<()> {
    match DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        result => {
            result.with_context(|| format!("mkdir({dir:?}, {mode:04o})"))?;
        }
    }
    // mkdir takes away what the reader's umask says.
    fs::set_permissions(dir, Permissions::from_mode(mode))
        .with_context(|| format!("chmod({dir:?}, {mode:04o})"))
}
