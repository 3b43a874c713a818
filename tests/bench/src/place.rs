//! The temporary directory in which everything happens.

use std::{
    env, fs,
    fs::Permissions,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::TempDir;

/// A directory with a root file system in it. Dropping it removes all of it.
pub(crate) struct Place {
    directory: TempDir,
    /// Whether the root file system is BusyBox.
    pub(crate) busybox: bool,
}

impl Place {
    /// Makes the directory and the root file system: a static BusyBox if the
    /// machine has one, otherwise the benchmark's own `true`.
    pub(crate) fn make(programs: &Path) -> anyhow::Result<Place> {
        let directory = tempfile::Builder::new()
            .prefix("container-in-six-steps-bench.")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .context("making a temporary directory")?;
        let busybox = static_busybox();
        let place = Place {
            directory,
            busybox: busybox.is_some(),
        };
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            make_directory(&place.rootfs().join(name))?;
        }
        let bin = place.rootfs().join("bin");
        for name in ["wait", "stay"] {
            copy(&programs.join(name), &bin.join(name))?;
        }
        match busybox {
            None => copy(&programs.join("true"), &bin.join("true"))?,
            Some(busybox) => {
                copy(&busybox, &bin.join("busybox"))?;
                for name in ["true", "sh"] {
                    symlink("busybox", bin.join(name))
                        .with_context(|| format!("symlink({name:?})"))?;
                }
            }
        }
        Ok(place)
    }

    /// The directory, which all may pass.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The root file system of every container.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }
}

/// Makes a directory and those above it.
pub(crate) fn make_directory(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("mkdir({path:?})"))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("copying {from:?} to {to:?}"))?;
    Ok(())
}

fn static_busybox() -> Option<PathBuf> {
    let busybox = find_program("busybox")?;
    let head = fs::read(&busybox).ok()?;
    // A dynamic program names its loader right behind the headers.
    let dynamic = head.get(..4096)?.windows(4).any(|it| it == b"/ld-");
    (!dynamic).then_some(busybox)
}

/// Looks for a program where root's programs are, too.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}
