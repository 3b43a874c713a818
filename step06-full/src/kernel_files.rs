//! What the kernel shows as files, and what of it a container may see.
//!
//! `/proc` and `/sys` are the kernel's own doors. Some of the files have no
//! namespace: they tell about the whole machine, or steer it. Docker hides the
//! first ("masked paths") and makes the second read-only. See proc(5),
//! sysfs(5).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use common::sys::{self, NULL};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, TMPFS_MAGIC};
use step03_mount::enter_mount_point;

use crate::mount_api::bind;

/// What a container may not see of the kernel's files, and what it may not
/// write to: paths below its root, in `proc` or `sys`.
pub struct Restrictions<'a> {
    /// Files that tell about the machine or its other users.
    pub masked_files: &'a [&'a str],
    /// Directories that do the same.
    pub masked_directories: &'a [&'a str],
    /// Files that change the machine's behaviour when they are written to.
    pub read_only: &'a [&'a str],
}

/// Docker's lists, and four files more that no program in a container asks for.
/// What a user namespace refuses anyway is on them too: each layer holds if the
/// other fails.
pub const DOCKERS: Restrictions<'static> = Restrictions {
    masked_files: &[
        "proc/config.gz",
        "proc/interrupts",
        "proc/iomem",
        "proc/ioports",
        "proc/kcore",
        "proc/key-users",
        "proc/keys",
        "proc/latency_stats",
        "proc/sched_debug",
        "proc/timer_list",
        "proc/timer_stats",
    ],
    masked_directories: &[
        "proc/acpi",
        "proc/asound",
        "proc/scsi",
        "sys/devices/virtual/powercap",
        "sys/firmware",
    ],
    read_only: &[
        "proc/bus",
        "proc/fs",
        "proc/irq",
        "proc/sys",
        "proc/sysrq-trigger",
    ],
};

/// A directory in which there is nothing and nothing can be made: it is there to
/// have cgroups mounted on it. A file system more would cost more.
const EMPTY: &str = "sys/fs/cgroup";

const FLAGS: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Mounts the kernel's device tree, read-only, on `sys` below `root`.
///
/// sysfs shows the network devices of the network namespace that mounts it, so
/// that must be the container's own: for the host's it is `EPERM`. It must
/// also come before the old root is detached: in a user namespace the kernel
/// allows a new sysfs (or proc) only where one is already fully visible, so
/// that nobody uncovers what was hidden from them; afterwards it is `EPERM`,
/// too. See sysfs(5), and mount_too_revealing() in the kernel's
/// fs/namespace.c.
pub fn mount_sys(root: &Path) -> anyhow::Result<()> {
    enter_mount_point(root, "sys")?;
    let flags = FLAGS | MsFlags::MS_RDONLY;
    sys::mount("sysfs", ".", "sysfs", flags, NULL)
        .context("mounting a sysfs of its own")
}

/// Hides what is masked, and makes read-only what is to be read only, such as
/// what [`DOCKERS`] lists; and hides the counters of heat, whose names no list
/// can have.
///
/// `/proc`, `/sys` and `/dev` of the container must be mounted below `root`:
/// what covers a file is the container's own `/dev/null`, the node of which
/// nobody can change, and what covers a directory is an empty one of `/sys`, on
/// which nothing is mounted yet. A path that this kernel does not have is
/// skipped. See mount(2).
///
/// # Errors
/// One of the three is not mounted; a path lies elsewhere than below `proc` and
/// `sys`.
pub fn protect(root: &Path, paths: &Restrictions) -> anyhow::Result<()> {
    cover(root, paths).context("covering what the kernel shows of the host")
}

fn cover(root: &Path, paths: &Restrictions) -> anyhow::Result<()> {
    sys::chdir(root)?;
    // Only then does a path that is missing mean that this kernel lacks it.
    expect("proc", PROC_SUPER_MAGIC)?;
    expect("sys", SYSFS_MAGIC)?;
    expect("dev", TMPFS_MAGIC)?;

    for path in paths.masked_files {
        mask("dev/null", path)?;
    }

    expect(EMPTY, SYSFS_MAGIC)?;
    for path in paths.masked_directories {
        mask(EMPTY, path)?;
    }
    for path in thermal_throttles()? {
        mask(EMPTY, &path)?;
    }

    for path in paths.read_only {
        make_read_only(path)?;
    }
    Ok(())
}

/// The directories in which each processor counts how often it was too hot, a
/// clock by which two containers could signal each other.
fn thermal_throttles() -> anyhow::Result<Vec<PathBuf>> {
    let cpus = Path::new("sys/devices/system/cpu");
    let mut found = Vec::new();
    // Only Intel's processors have them. The first is there at each boot; only a
    // kernel before 6.5, built for that, can unplug it later.
    let first = cpus.join("cpu0/thermal_throttle");
    if !skip_missing(|| sys::stat(first).map(drop))? {
        return Ok(found);
    }
    let reading = || format!("reading {cpus:?}");
    for entry in fs::read_dir(cpus).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        if entry.file_type().is_ok_and(|file_type| file_type.is_dir()) {
            found.push(entry.path().join("thermal_throttle"));
        }
    }
    Ok(found)
}

/// Checks that `path` is one of the kernel's files: what lies elsewhere is the
/// image's, whose maker could lead us away by a link.
fn expect_of_the_kernel(path: &Path) -> anyhow::Result<()> {
    let mut names = path.iter();
    let below = names.next().is_some_and(|it| it == "proc" || it == "sys");
    let upwards = names.any(|name| name == "..");
    ensure!(below && !upwards, "{path:?} is not below proc or sys");
    Ok(())
}

/// Checks that `path` is the file system that this program has mounted there.
fn expect(path: &str, file_system: FsType) -> anyhow::Result<()> {
    ensure!(
        sys::statfs(path)?.filesystem_type() == file_system,
        "/{path} is not what was mounted there"
    );
    Ok(())
}

/// Hides `path`, if it exists, behind `cover`.
fn mask(cover: &str, path: impl AsRef<Path>) -> anyhow::Result<()> {
    let path = path.as_ref();
    expect_of_the_kernel(path)?;
    skip_missing(|| bind(cover, path))?;
    Ok(())
}

/// Makes `path` and what lies below it read-only, if it exists.
///
/// File permissions are not enough: `proc/sys/kernel/hostname` and the
/// settings of the network namespace do belong to the container's root.
fn make_read_only(path: &str) -> anyhow::Result<()> {
    expect_of_the_kernel(Path::new(path))?;
    // Read-only is a property of a mount, so there must be one exactly here.
    // This bind ignores every other flag; they need a second call.
    if !skip_missing(|| bind(path, path))? {
        return Ok(());
    }
    // A remount replaces all flags, so the ones that proc has are repeated.
    // In a user namespace taking one away can be EPERM: it may be locked. See
    // mount_namespaces(7).
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    flags |= MsFlags::MS_RDONLY | FLAGS;
    Ok(sys::mount(NULL, path, NULL, flags, NULL)?)
}

/// Makes a call about a file, and returns whether there is one: kernels differ in
/// what they have.
fn skip_missing(call: impl FnOnce() -> sys::Result<()>) -> sys::Result<bool> {
    Ok(sys::ask(&[Errno::ENOENT], call)?.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_shows_is_covered() {
        for path in ["proc/keys", "sys/firmware", "proc", "sys//x/"] {
            expect_of_the_kernel(Path::new(path)).expect(path);
        }
        for path in ["", "/proc/keys", "etc/passwd", "procx", "proc/../etc"] {
            expect_of_the_kernel(Path::new(path)).expect_err(path);
        }
    }
}
