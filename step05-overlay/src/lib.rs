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

mod diff;
mod kept;
mod layers;

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use common::{
    errors,
    host::{files::by_number, machine, paths::open_directory},
    rootfs,
    sys::{self, xattr},
};
use nix::{
    errno::Errno,
    fcntl::{OFlag, ResolveFlag},
    mount::MsFlags,
    sys::statvfs::FsFlags,
};

pub use diff::{Diff, changes, diff};
pub use kept::Kept;
pub use layers::{Layers, OpenLayers};

use kept::{UPPER, WORK, make_inside};

/// mount(2) reads one page of options, the NUL at its end included, and cuts
/// off the rest without a word.
const OPTIONS_MAX: usize = 4095;

/// Makes one root file system of the `layers`, the lowest of which is the
/// directory `root`, and returns where it is: `merged`.
///
/// Must run in a mount namespace of its own whose mounts are private, while the
/// host's `/proc` is in its place. Without an upper directory, what the
/// container writes goes to memory, and the kernel drops it with the mount
/// namespace. What lies beside `root` on the host is not to be seen afterwards.
///
/// # Errors
/// The work directory belongs to somebody else; another directory is where one
/// of the layers was; `EINVAL` when the upper directory is on a file system that
/// can't be one, such as another overlay or NFS.
pub fn mount_root(root: &Path, layers: &OpenLayers) -> anyhow::Result<PathBuf> {
    let place = place_for(root)?;
    let mount_layers = || {
        // The layers are opened first: the tmpfs, and in the end the overlay,
        // may cover them.
        let lowerdir: Vec<OwnedFd> = layers
            .lower
            .iter()
            .map(|lower| lower.open(place))
            .collect::<Result<_, _>>()?;
        let image = lowerdir.last().context("the image is always a layer")?;
        let mode = sys::fstat(image)?.st_mode & 0o7777;

        let writable = match &layers.upper {
            Some(kept) => kept.open_again(place)?,
            None => mount_tmpfs(place)?,
        };
        // The mode of `merged` itself is that of upperdir: the image's.
        let upperdir = make_inside(&writable, UPPER, mode)?;
        let workdir = make_inside(&writable, WORK, 0o700)?;

        let dialect = dialect(&upperdir, layers)?;
        let options = options(&lowerdir, &upperdir, &workdir, dialect)?;
        mount_overlay(place, &options)
            .map_err(|error| blame_upperdir(error, &upperdir))?;
        check_writable(place)?;
        look_for_tools(place, image, layers)
    };
    mount_layers()
        .with_context(|| format!("mounting an overlay of {root:?}"))?;
    Ok(place.to_owned())
}

/// Where the overlay is mounted. It is a file system of its own, so it need not
/// be where one of its layers is, and it had better not: somebody else may own a
/// directory on the way there, and exchange it, or have closed it to the root of
/// a user namespace. A directory in "/" can be neither exchanged nor closed.
fn place_for(root: &Path) -> anyhow::Result<&Path> {
    let mut way: Vec<&Path> = root.ancestors().collect();
    // The path "/" would lead past what is mounted on it, to the host. And the
    // container's devices come from the host's /dev.
    way.retain(|path| ![Path::new("/"), Path::new("/dev")].contains(path));
    way.pop().context("nothing can cover the host's root")
}

/// Covers `place` with a file system in memory and opens it, to hold upperdir
/// and workdir.
///
/// Nobody will see it, as the overlay covers it in turn. Its pages are charged
/// to the cgroup of the process that writes them: a container that writes a big
/// file runs into its `--memory`, exactly as if it had allocated as much. See
/// the kernel's Documentation/admin-guide/cgroup-v2.rst, "Memory Ownership".
fn mount_tmpfs(place: &Path) -> anyhow::Result<OwnedFd> {
    sys::mount("tmpfs", place, "tmpfs", MsFlags::empty(), "mode=0700")?;
    open_directory(place)
}

/// Decides how overlay names the attributes in which it keeps its notes, such
/// as the mark of a directory that was deleted and made anew. See xattr(7).
///
/// By itself it takes `trusted.overlay.…`, which only the host's root may read
/// and write. With `userxattr` it is `user.overlay.…`, which everybody may: so
/// one layer means the same in all steps and for all users, and can be read by
/// `diff`. But a tmpfs has those only since Linux 6.6. Where root's container
/// writes to one, and there is no layer with notes to be read, the others do.
fn dialect(
    upperdir: &OwnedFd,
    layers: &OpenLayers,
) -> sys::Result<&'static str> {
    let supported = xattr::is_supported(upperdir, c"user.overlay.opaque")?;
    let no_notes_yet = layers.lower.len() == 1 && layers.upper.is_none();
    if !supported && no_notes_yet && machine::in_initial_user_namespace() {
        // Some distributions turn this on. A directory that was renamed is
        // then only a reference, which nobody can read without overlay; with
        // `userxattr` it is always off.
        return Ok("redirect_dir=off");
    }
    if !supported {
        errors::warning(&anyhow!(
            "the container can't delete or rename directories of its image \
             (EIO): what it writes is on a file system without attributes \
             user.*, such as a tmpfs before Linux 6.6; name a directory on a \
             disk: --upper DIR"
        ));
    }
    Ok("userxattr")
}

/// The options of the mount. Layers are named by the numbers of their
/// descriptors: so short that 500 of them fit, and free of the characters that
/// mean something here, which are `:`, `,` and `\`.
fn options(
    lowerdir: &[OwnedFd],
    upperdir: &OwnedFd,
    workdir: &OwnedFd,
    dialect: &str,
) -> anyhow::Result<String> {
    let lowerdir: Vec<String> = lowerdir
        .iter()
        .map(|fd| fd.as_raw_fd().to_string())
        .collect();
    let lowerdir = lowerdir.join(":");
    let (upperdir, workdir) = (upperdir.as_raw_fd(), workdir.as_raw_fd());
    // With an index, an upperdir is tied to the layers that it was first used
    // with (ESTALE). Some distributions turn that on.
    let options = format!(
        "lowerdir={lowerdir},upperdir={upperdir},workdir={workdir},\
         index=off,{dialect}"
    );
    ensure!(
        options.len() <= OPTIONS_MAX,
        "the options of the mount are {} bytes long, mount(2) takes \
         {OPTIONS_MAX}",
        options.len(),
    );
    Ok(options)
}

/// Mounts the overlay on `place`. There is no MS_NOSUID, as with Docker: the
/// set-uid programs of the image work in the container, until step 6 takes the
/// power from them in another way, by no_new_privs.
fn mount_overlay(place: &Path, options: &str) -> sys::Result<()> {
    // A layer is looked up from the directory that we are in, and in this one
    // the numbers of our descriptors are names. See proc(5).
    sys::chdir("/proc/self/fd")?;
    sys::mount("overlay", place, "overlay", MsFlags::empty(), options)?;
    // Not back to where we were: that directory may be closed to root of a user
    // namespace, and the container will begin in its own "/".
    sys::chdir("/")
}

/// Adds to `error`, that of the mount, which file system is to blame for it: the
/// kernel says so only in its log.
fn blame_upperdir(error: sys::Error, upperdir: &OwnedFd) -> anyhow::Error {
    match machine::unfit_for_upper(&by_number(upperdir)) {
        Some(name) => {
            anyhow::Error::new(error).context(format!("upperdir is on {name}"))
        }
        None => error.into(),
    }
}

/// Makes an error of what is only a line in the kernel's log: where overlay may
/// not write to workdir, it mounts all the same, but read-only.
fn check_writable(merged: &Path) -> anyhow::Result<()> {
    let status = sys::statfs(merged)?;
    ensure!(
        !status.flags().contains(FsFlags::ST_RDONLY),
        "it is read-only: the kernel could not use the work directory (does \
         it belong to somebody else?); dmesg(1) may tell why"
    );
    Ok(())
}

/// Remembers when a layer hides the shell of the image: the message that there
/// is none should not blame the image.
fn look_for_tools(
    merged: &Path,
    image: &OwnedFd,
    layers: &OpenLayers,
) -> anyhow::Result<()> {
    let given = match (&layers.upper, &layers.lower[..]) {
        (None, [_]) => return Ok(()),
        (Some(_), [_]) => "--upper",
        (None, _) => "--lower",
        (Some(_), _) => "--upper or --lower",
    };
    if !has_shell(open_directory(merged)?) && has_shell(image) {
        rootfs::tools_hidden_by(given);
    }
    Ok(())
}

/// Links in the image lead to where they will lead in the container.
fn has_shell(root: impl AsFd) -> bool {
    let in_root = ResolveFlag::RESOLVE_IN_ROOT;
    let open = || sys::openat2(root, "bin/sh", OFlag::O_PATH, in_root);
    // Without it the error would be told where `root` is, among all layers.
    matches!(sys::ask(&[Errno::ENOENT, Errno::ENOTDIR], open), Ok(Ok(_)))
}
