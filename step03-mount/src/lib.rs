//! Step 3: a file system of its own.
//!
//! A mount namespace holds a list of mounts. A process that is created with
//! `CLONE_NEWNS` starts with a copy of its parent's list, so it still sees all
//! of the host's files; what makes a container of it is `pivot_root`, which
//! puts another root in place and lets go of the old one. With a fresh `/proc`
//! for the PID namespace of step 2, `ps` shows the container at last. See
//! mount_namespaces(7) and pivot_root(2).

use std::path::Path;

use anyhow::Context;
use common::{
    host::paths::open_directory,
    sys::{self, NULL},
};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    mount::{MntFlags, MsFlags},
};

/// Makes all mounts private: what is mounted here from now on stays here.
///
/// Must run in a process created with `CLONE_NEWNS`, and before the first
/// mount. systemd makes `/` a shared mount, and a copy of a shared mount passes
/// on each new mount to the original: our `/proc` would appear on the host. See
/// mount_namespaces(7), "SHARED SUBTREES".
pub fn make_private() -> anyhow::Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    sys::mount(NULL, "/", NULL, flags, NULL)
        .context("keeping our mounts to ourselves")
}

/// Makes the directory `root` a mount point, by binding it to itself:
/// [`enter_root`] takes nothing else.
pub fn mount_root(root: &Path) -> anyhow::Result<()> {
    bind(root, root)
}

/// Mounts a `proc` file system for this process's PID namespace on `/proc`
/// below `root`.
///
/// Must run before [`enter_root`]: in a user namespace the kernel mounts a
/// `proc` only next to one that is visible in full (`EPERM`), and once the old
/// root is gone there is none. See proc(5), and mount_too_revealing() in the
/// kernel's fs/namespace.c.
pub fn mount_proc(root: &Path) -> anyhow::Result<()> {
    enter_mount_point(root, "proc")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    sys::mount("proc", ".", "proc", flags, NULL)
        .context("mounting a proc file system of its own")
}

/// Shows the host's `/dev` below `root`. Without it there is no `/dev/null`,
/// and `>/dev/null` would write a file.
///
/// Must run before [`enter_root`], while the host's `/dev` is still there.
pub fn mount_dev(root: &Path) -> anyhow::Result<()> {
    enter_mount_point(root, "dev")?;
    bind(Path::new("/dev"), Path::new("."))
}

/// Makes `new_root` the `/` of this mount namespace and lets go of the old one.
///
/// `new_root` must be a mount point (see [`mount_root`]), in a private tree
/// (see [`make_private`]) of a mount namespace of its own; otherwise this moves
/// the host's root, or fails with `EINVAL`. See pivot_root(2).
pub fn enter_root(new_root: &Path) -> anyhow::Result<()> {
    let pivot = || {
        sys::chdir(new_root)?;

        // With "." twice the old root is stacked on the new one, so that no
        // directory for it (put_old) is needed. See pivot_root(2), NOTES.
        sys::pivot_root(".", ".")?;

        // umount2 takes the uppermost mount at ".", the old root. MNT_DETACH
        // takes away all of it, with everything that is mounted in it.
        sys::umount2(".", MntFlags::MNT_DETACH)?;
        sys::chdir("/")
    };
    pivot().with_context(|| format!("making {new_root:?} the root"))
}

/// Shows the tree at `source` at `target` too, with what is mounted in it.
fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    sys::mount(source, target, NULL, flags, NULL)
        .with_context(|| format!("binding {source:?}"))
}

/// Goes into the directory `name` of `root`, made if the image lacks it: what
/// is to be mounted there is then mounted on `"."`.
///
/// Whoever made the image had a say in what it is. A symbolic link would lead
/// the mount somewhere else, and until [`enter_root`] that is anywhere on the
/// host; it is refused (`ENOTDIR`), and so is whatever else is no directory.
/// Not by path again after that: it could lead elsewhere by then. See open(2),
/// `O_NOFOLLOW`.
pub fn enter_mount_point(root: &Path, name: &str) -> anyhow::Result<()> {
    let enter = || {
        let root = open_directory(root)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let directory = match sys::openat(&root, name, flags, 0) {
            Err(error) if error.errno == Errno::ENOENT => {
                sys::mkdirat(&root, name, 0o755)?;
                sys::openat(&root, name, flags, 0)?
            }
            opened => opened?,
        };
        anyhow::Ok(sys::fchdir(directory)?)
    };
    enter().with_context(|| format!("making a place for /{name}"))
}
