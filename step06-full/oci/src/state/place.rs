//! The directories of containers on the disk: where they are, whose, and who is
//! at work on one.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use common::sys;
use nix::{errno::Errno, fcntl::OFlag, unistd::geteuid};

/// How often, and how long in between, in milliseconds, it is tried to get a
/// lock that somebody else has.
const TRIES: u32 = 1000;
const PAUSE: u64 = 10;

/// Where the directories are, if `--root` does not say it.
pub(crate) fn default_root() -> anyhow::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR");
    let is_plain = !geteuid().is_root() || !has_all_ids();
    match runtime {
        Some(runtime) if is_plain => Ok(Path::new(&runtime).join("step06-oci")),
        _ if geteuid().is_root() => Ok("/run/step06-oci".into()),
        _ => bail!("no XDG_RUNTIME_DIR: say by --root where to keep states"),
    }
}

/// Whether this is the first user namespace, or as good.
fn has_all_ids() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Makes the directory that holds those of all containers, for us alone.
pub(crate) fn make_root(root: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(root);
    made.with_context(|| format!("making {root:?}"))?;
    let status = sys::stat(root)?;
    ensure!(
        status.st_uid == geteuid().as_raw() && status.st_mode & 0o022 == 0,
        "others may write to {root:?}"
    );
    Ok(())
}

/// Refuses a name that would be a path, or none at all.
pub(super) fn check_id(id: &str) -> anyhow::Result<()> {
    let is_good =
        |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    let first = id.bytes().next();
    ensure!(
        id.len() <= 255
            && id.bytes().all(is_good)
            && first.is_some_and(|byte| byte != b'.'),
        "invalid container id {id:?}: letters, digits and _+-."
    );
    Ok(())
}

/// Locks the directory `path`; `None` if it is gone by the time that the lock is
/// ours.
pub(super) fn lock(path: &Path) -> anyhow::Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let directory = match sys::open(path, flags, 0) {
        Err(error) if error.errno == Errno::ENOENT => return Ok(None),
        opened => opened?,
    };
    let mut tries = 0;
    loop {
        match sys::flock(&directory, libc::LOCK_EX | libc::LOCK_NB) {
            Err(error) if error.errno == Errno::EWOULDBLOCK => {}
            locked => break locked?,
        }
        tries += 1;
        ensure!(tries < TRIES, "another step06-oci is at work on {path:?}");
        std::thread::sleep(std::time::Duration::from_millis(PAUSE));
    }
    let (ours, there) = (sys::fstat(&directory)?, sys::lstat(path));
    let same = there
        .is_ok_and(|it| (it.st_dev, it.st_ino) == (ours.st_dev, ours.st_ino));
    Ok(same.then_some(directory))
}

/// Whether nobody is at work on it.
pub(super) fn is_free(path: &Path) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    sys::open(path, flags, 0).is_ok_and(|directory| {
        sys::flock(&directory, libc::LOCK_SH | libc::LOCK_NB).is_ok()
    })
}
