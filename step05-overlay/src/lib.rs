//! Step 5: a root file system in layers.
//!
//! An overlay file system shows several directories as one, `merged`: on top
//! `upperdir`, which takes all that is written, below it any number of
//! directories that are only read, `lowerdir`. The name that is found first,
//! from top to bottom, wins. A file of a lower layer is copied to the upper one
//! when it is opened for writing (copy-up), and a file that is deleted leaves a
//! mark there that hides it (whiteout). So the image stays as it is, and any
//! number of containers can share it. See the kernel's
//! Documentation/filesystems/overlayfs.rst.
#![forbid(unsafe_code)]

mod diff;
mod layers;

use std::{
    fs::{self, File, TryLockError},
    mem,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use common::{machine, rootfs::open_directory};
use nix::{
    mount::{MsFlags, mount},
    sys::statvfs::{FsFlags, statvfs},
    unistd::{chdir, fchdir},
};

pub use diff::{Diff, diff};
pub use layers::Layers;

use layers::{make_directory, workdir_of};

/// mount(2) reads one page of options, the NUL at its end included, and cuts
/// off the rest without a word.
const OPTIONS_MAX: usize = 4095;

/// Covers the directory `root` with an overlay of which it is the lowest layer.
/// From then on `root` is `merged`.
///
/// Must run in a mount namespace of its own whose mounts are private, while the
/// host's `/proc` is in its place. The paths in `layers` must come from
/// [`Layers::find`]. Without an upper directory, what the container writes goes
/// to memory, and the kernel drops it with the mount namespace.
///
/// # Errors
///
/// Another container has the upper directory, or the work directory belongs to
/// somebody else. `EINVAL`: the upper directory is on a file system that can't
/// be one, such as another overlay or NFS.
pub fn mount_root(root: &Path, layers: &Layers) -> anyhow::Result<()> {
    let mount_layers = || {
        // The path "/" would lead past what is mounted on it, to the host.
        ensure!(root.parent().is_some(), "nothing can cover the host's root");

        // While nothing covers `root`. The process that mounts must open the
        // layers itself: our parent's descriptors belong to the mounts of its
        // namespace, where overlay finds fault with them (EINVAL).
        let mut lowerdir = Vec::new();
        for lower in &layers.lower {
            lowerdir.push(open_directory(lower)?);
        }
        lowerdir.push(open_directory(root)?);

        let (upper, work) = match &layers.upper {
            Some(upperdir) => {
                lock(upperdir)?;
                (upperdir.clone(), workdir_of(upperdir)?)
            }
            None => mount_tmpfs(root)?,
        };
        let upperdir = open_directory(&upper)?;
        let workdir = open_directory(&work)?;

        let options = options(&lowerdir, &upperdir, &workdir)?;
        // The kernel says why only in its log.
        mount_overlay(root, &options).map_err(|error| {
            match machine::unfit_for_upper(&upper) {
                Some(name) => error.context(format!("upperdir is on {name}")),
                None => error,
            }
        })?;
        check_writable(root)
    };
    mount_layers().with_context(|| format!("mounting an overlay on {root:?}"))
}

/// Covers `root` with a file system in memory and returns two directories in
/// it: for upperdir and for workdir.
///
/// Nobody will see it, as the overlay covers it in turn. Its pages are charged
/// to the cgroup of the process that writes them: a container that writes a big
/// file runs into its `--memory`, exactly as if it had allocated as much. See
/// tmpfs(5).
fn mount_tmpfs(root: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let mode = fs::metadata(root).with_context(|| format!("stat({root:?})"))?;
    mount(
        Some("tmpfs"),
        root,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )
    .with_context(|| format!(r#"mount("tmpfs", {root:?}, "tmpfs")"#))?;

    let (upperdir, workdir) = (root.join("upper"), root.join("work"));
    // The mode of `merged` itself is that of upperdir: the image's.
    make_directory(&upperdir, mode.mode() & 0o7777)?;
    make_directory(&workdir, 0o700)?;
    Ok((upperdir, workdir))
}

/// Keeps other containers away from `upperdir` for as long as this process
/// lives: overlay itself only warns, in the kernel's log, when two mounts write
/// to one upper directory and destroy each other's work.
fn lock(upperdir: &Path) -> anyhow::Result<()> {
    let directory = File::open(upperdir)
        .with_context(|| format!("open({upperdir:?}, O_RDONLY)"))?;
    match directory.try_lock() {
        Err(TryLockError::WouldBlock) => {
            bail!("{upperdir:?} is in use by another container")
        }
        Err(TryLockError::Error(error)) => Err(error)
            .with_context(|| format!("flock({upperdir:?}, LOCK_EX|LOCK_NB)")),
        Ok(()) => {
            // The lock lasts as long as the descriptor, which is closed when
            // this process ends, however it ends. See flock(2).
            mem::forget(directory);
            Ok(())
        }
    }
}

/// The options of the mount. Layers are named by the numbers of their
/// descriptors: so short that 500 of them fit, and free of the characters that
/// mean something here, which are `:`, `,` and `\`.
fn options(
    lowerdir: &[OwnedFd],
    upperdir: &OwnedFd,
    workdir: &OwnedFd,
) -> anyhow::Result<String> {
    let lowerdir: Vec<String> = lowerdir
        .iter()
        .map(|fd| fd.as_raw_fd().to_string())
        .collect();
    let lowerdir = lowerdir.join(":");
    let (upperdir, workdir) = (upperdir.as_raw_fd(), workdir.as_raw_fd());
    let features = if machine::in_initial_user_namespace() {
        // Some distributions turn this on. A directory that was renamed is then
        // only a reference in upperdir, which nobody can read without overlay.
        "redirect_dir=off"
    } else {
        // Overlay keeps its notes in attributes trusted.*, which only the
        // host's root may write; user.* may be written by all. A tmpfs has
        // those since Linux 6.6; before, `rm -r` of a directory of the image is
        // EIO, unless upperdir is on a disk. See xattr(7).
        "userxattr"
    };
    // With an index, an upperdir is tied to the layers that it was first used
    // with (ESTALE). Some distributions turn that on, too.
    let options = format!(
        "lowerdir={lowerdir},upperdir={upperdir},workdir={workdir},\
         index=off,{features}"
    );
    ensure!(
        options.len() <= OPTIONS_MAX,
        "the options of the mount are {} bytes long, mount(2) takes \
         {OPTIONS_MAX}",
        options.len(),
    );
    Ok(options)
}

/// Mounts the overlay on `root`. There is no MS_NOSUID and no MS_NODEV, as with
/// Docker: the set-uid programs of the image must work in the container.
fn mount_overlay(root: &Path, options: &str) -> anyhow::Result<()> {
    let here = open_directory(Path::new("."))?;
    // Here the names of our descriptors are the numbers. See proc_pid_fd(5).
    chdir("/proc/self/fd").context(r#"chdir("/proc/self/fd")"#)?;
    mount(
        Some("overlay"),
        root,
        Some("overlay"),
        MsFlags::empty(),
        Some(options),
    )
    .with_context(|| {
        format!(r#"mount("overlay", {root:?}, "overlay", {options:?})"#)
    })?;
    fchdir(here).context(r#"fchdir(".")"#)
}

/// Makes an error of what is only a line in the kernel's log: where overlay may
/// not write to workdir, it mounts all the same, but read-only.
fn check_writable(merged: &Path) -> anyhow::Result<()> {
    let status =
        statvfs(merged).with_context(|| format!("statfs({merged:?})"))?;
    ensure!(
        !status.flags().contains(FsFlags::ST_RDONLY),
        "it is read-only: the kernel could not use the work directory (does \
         it belong to somebody else?); dmesg(1) may tell why"
    );
    Ok(())
}
