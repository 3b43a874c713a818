//! A `/dev` of the container's own, with the few devices that harm nobody.
//!
//! Step 3 bound the host's whole `/dev` into the container, disks and memory
//! included. Here the container gets an empty tmpfs and, in it, what every
//! program expects: six character devices, terminals and shared memory of its
//! own, and the links that the shells know. The list is Docker's. See
//! hier(7), null(4), pts(4).

use std::path::Path;

use anyhow::Context;
use common::{
    host::files::file_type,
    sys::{self, NULL},
};
use libc::dev_t;
use nix::{
    errno::Errno,
    mount::MsFlags,
    sys::stat::{FileStat, SFlag, makedev},
    unistd::Gid,
};
use step03_mount::enter_mount_point;

use crate::mount_api;

/// A device that a container gets from the host.
pub struct Device {
    /// What it is called in `/dev`, on both sides.
    pub name: &'static str,
    /// Its number.
    pub number: dev_t,
}

/// Devices that give nothing away: they read as nothing, noise or the
/// caller's own terminal. Their numbers are the same everywhere. See null(4),
/// full(4), random(4), tty(4).
pub const HARMLESS: [Device; 6] = [
    Device::new("null", 1, 3),
    Device::new("zero", 1, 5),
    Device::new("full", 1, 7),
    Device::new("random", 1, 8),
    Device::new("urandom", 1, 9),
    Device::new("tty", 5, 0),
];

impl Device {
    /// The device with this number, in its two parts. See makedev(3).
    pub const fn new(name: &'static str, major: u64, minor: u64) -> Device {
        let number = makedev(major, minor);
        Device { name, number }
    }
}

/// Whether this is one of the devices that each container has.
pub(crate) fn is_harmless(file: &FileStat) -> bool {
    file_type(file) == SFlag::S_IFCHR
        && HARMLESS.iter().any(|it| it.number == file.st_rdev)
}

/// The group that may write to terminals, as `mesg y` allows.
const TTY: Gid = Gid::from_raw(5);

/// Links by which programs reach their own descriptors. See bash(1),
/// REDIRECTION.
pub const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Mounts a minimal `/dev` below `root`, with these `devices` of the host's; it
/// takes the place of step 3's `mount_dev`.
///
/// `root` must be the future root directory, in a private mount namespace. It
/// must not be the root yet: the devices come from the host's `/dev`. The IPC
/// namespace must be the container's own, or `/dev/mqueue` shows the host's. See
/// tmpfs(5), mount(2).
pub fn mount_dev(root: &Path, devices: &[Device]) -> anyhow::Result<()> {
    enter_mount_point(root, "dev")?;
    fill(root, devices).context("mounting a minimal /dev")
}

fn fill(root: &Path, devices: &[Device]) -> anyhow::Result<()> {
    // As in Docker it stays writable, so it is small: a container that fills
    // it has spent 64 KiB of the host's memory.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = "mode=755,size=64k,nr_inodes=64";
    sys::mount("tmpfs", ".", "tmpfs", flags, options)?;
    // We are still below it. The same way leads onto it now, and from here no
    // path goes through anything that the image has made.
    enter_mount_point(root, "dev")?;
    for device in devices {
        bind_device(device.name)?;
    }
    mount_pts()?;
    mount_shm()?;
    mount_mqueue()?;
    for (target, name) in LINKS {
        sys::symlink(target, name)?;
    }
    Ok(())
}

/// Makes the host's device `name` appear in the current directory.
fn bind_device(name: &str) -> sys::Result<()> {
    let host = Path::new("/dev").join(name);

    // mknod(2) of a device is EPERM for the root of a user namespace, whatever
    // its capabilities: it could make itself a node for any disk. So this is
    // an empty regular file that the host's node is bound on. See
    // user_namespaces(7).
    sys::mknod(name, 0o666)?;
    mount_api::bind(host, name)?;

    // The node is still the host's, and so are its mode and owner. A device on
    // a read-only mount can be written to, but chmod(2) is EROFS.
    mount_api::add_attributes_at(name, 0, libc::MOUNT_ATTR_RDONLY)
}

/// Pseudoterminals of the container's own: its `/dev/pts/0` is not the host's.
///
/// Every mount of devpts is a new instance since Linux 4.7 (`newinstance` is
/// for older ones), with a `ptmx` of its own in it that only `ptmxmode` makes
/// usable. No `MS_NODEV`: the terminals in it are devices. See pts(4).
fn mount_pts() -> sys::Result<()> {
    sys::mkdir("pts", 0o755)?;

    // A terminal belongs to the group tty, which is 5 nearly everywhere. A plain user
    // has only one group mapped, so here may be no group 5: for chown(2) that
    // is EINVAL. It is for the mount as well, but a mount that fails waits for
    // the kernel to clean up: half a millisecond.
    let group = match sys::chown("pts", None, Some(TTY)) {
        Ok(()) => format!(",gid={TTY}"),
        Err(error) if error.errno == Errno::EINVAL => String::new(),
        Err(error) => return Err(error),
    };
    let options = format!("newinstance,ptmxmode=0666,mode=0620{group}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    sys::mount("devpts", "pts", "devpts", flags, &options)
}

/// Where shm_open(3) keeps POSIX shared memory: a tmpfs of Docker's size.
fn mount_shm() -> sys::Result<()> {
    sys::mkdir("shm", 0o755)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    sys::mount("tmpfs", "shm", "tmpfs", flags, "mode=1777,size=64m")
}

/// The POSIX message queues of this IPC namespace as files. See
/// mq_overview(7).
fn mount_mqueue() -> sys::Result<()> {
    sys::mkdir("mqueue", 0o755)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match sys::mount("mqueue", "mqueue", "mqueue", flags, NULL) {
        // A kernel without message queues has none to show.
        Err(error) if error.errno == Errno::ENODEV => Ok(()),
        done => done,
    }
}
