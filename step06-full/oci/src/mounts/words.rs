//! The words that mean something as options of a mount. See mount(8).

use nix::mount::MsFlags;

/// Words for attributes that are there or not: of a mount, and of a new file
/// system. The last says whether the word sets or clears.
pub(super) const FLAGS: &[(&str, u64, MsFlags, bool)] = &[
    ("ro", libc::MOUNT_ATTR_RDONLY, MsFlags::MS_RDONLY, true),
    ("rw", libc::MOUNT_ATTR_RDONLY, MsFlags::MS_RDONLY, false),
    ("nosuid", libc::MOUNT_ATTR_NOSUID, MsFlags::MS_NOSUID, true),
    ("suid", libc::MOUNT_ATTR_NOSUID, MsFlags::MS_NOSUID, false),
    ("nodev", libc::MOUNT_ATTR_NODEV, MsFlags::MS_NODEV, true),
    ("dev", libc::MOUNT_ATTR_NODEV, MsFlags::MS_NODEV, false),
    ("noexec", libc::MOUNT_ATTR_NOEXEC, MsFlags::MS_NOEXEC, true),
    ("exec", libc::MOUNT_ATTR_NOEXEC, MsFlags::MS_NOEXEC, false),
    (
        "nodiratime",
        libc::MOUNT_ATTR_NODIRATIME,
        MsFlags::MS_NODIRATIME,
        true,
    ),
    (
        "diratime",
        libc::MOUNT_ATTR_NODIRATIME,
        MsFlags::MS_NODIRATIME,
        false,
    ),
    ("nosymfollow", NOSYMFOLLOW, MS_NOSYMFOLLOW, true),
    ("symfollow", NOSYMFOLLOW, MS_NOSYMFOLLOW, false),
];

/// From <linux/mount.h>, since Linux 5.14.
const NOSYMFOLLOW: u64 = 0x0020_0000;
const MS_NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// Words for how the time of the last access is kept: of four ways it is one.
pub(super) const TIMES: &[(&str, u64, MsFlags)] = &[
    ("noatime", libc::MOUNT_ATTR_NOATIME, MsFlags::MS_NOATIME),
    ("relatime", libc::MOUNT_ATTR_RELATIME, MsFlags::MS_RELATIME),
    (
        "strictatime",
        libc::MOUNT_ATTR_STRICTATIME,
        MsFlags::MS_STRICTATIME,
    ),
    // The kernel's own choice.
    ("atime", libc::MOUNT_ATTR_RELATIME, MsFlags::empty()),
    ("norelatime", libc::MOUNT_ATTR_STRICTATIME, MsFlags::empty()),
    ("nostrictatime", libc::MOUNT_ATTR_RELATIME, MsFlags::empty()),
];

/// Words for the file system as a whole: the last says whether it is set.
pub(super) const SUPERBLOCK: &[(&str, MsFlags, bool)] = &[
    ("sync", MsFlags::MS_SYNCHRONOUS, true),
    ("async", MsFlags::MS_SYNCHRONOUS, false),
    ("dirsync", MsFlags::MS_DIRSYNC, true),
    ("iversion", MsFlags::MS_I_VERSION, true),
    ("noiversion", MsFlags::MS_I_VERSION, false),
    ("lazytime", MsFlags::MS_LAZYTIME, true),
    ("nolazytime", MsFlags::MS_LAZYTIME, false),
    ("mand", MsFlags::MS_MANDLOCK, true),
    ("nomand", MsFlags::MS_MANDLOCK, false),
    ("silent", MsFlags::MS_SILENT, true),
    ("loud", MsFlags::MS_SILENT, false),
];

/// Words for where mounts go that are made below.
pub(super) const PROPAGATION: &[(&str, u64)] = &[
    ("private", libc::MS_PRIVATE),
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("unbindable", libc::MS_UNBINDABLE),
];
