//! What is particular about the machine: the circumstances under which a call
//! fails that works elsewhere.
//!
//! An errno alone is not a cause: `EPERM` has a dozen. Each function here looks
//! at one circumstance, when a hint asks for it (those of [`crate::errors`]).

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use nix::{
    sys::{
        statfs::statfs,
        statvfs::{FsFlags, statvfs},
    },
    unistd::geteuid,
};

use super::mountinfo::Mount;

/// The inode number of the first user namespace, PROC_USER_INIT_INO in the
/// kernel's sources. It is the same on every machine.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// A bit of the capability sets in `/proc/PID/status`. See capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;

/// Whether this process is in the first user namespace, that of the host. It
/// needs `/proc` to see that.
pub fn in_initial_user_namespace() -> bool {
    fs::metadata("/proc/self/ns/user")
        .is_ok_and(|namespace| namespace.ino() == INITIAL_USER_NAMESPACE)
}

/// In another one: a container, for example.
pub fn in_user_namespace() -> bool {
    !in_initial_user_namespace()
}

/// The name of the file system that `path` is on, if it is one of those on
/// which overlay can't have its upper directory: it lacks whiteouts, extended
/// attributes or stable names. See overlayfs.rst, "Upper and lower".
///
/// The numbers are from linux/magic.h; that of SMB is from the kernel's client.
pub fn unfit_for_upper(path: &Path) -> Option<&'static str> {
    const FILE_SYSTEMS: [(u32, &str); 9] = [
        (0x794C_7630, "overlay"),
        (0x0000_6969, "NFS"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9p"),
        (0xFF53_4D42, "SMB"),
        (0xFE53_4D42, "SMB"),
        (0x0000_4D44, "FAT"),
        (0x2011_BAB0, "exFAT"),
        (0x0000_F15F, "eCryptfs"),
    ];
    // The type has another width on each architecture, the numbers have 32 bits.
    let magic = statfs(path).ok()?.filesystem_type().0 as u32;
    let mut known = FILE_SYSTEMS.into_iter();
    known
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| name)
}

/// Whether `path` is on a file system that no program is executed on.
pub fn is_noexec(path: &Path) -> bool {
    statvfs(path).is_ok_and(|it| it.flags().contains(FsFlags::ST_NOEXEC))
}

/// A setting of the kernel; `None` where this kernel has no such setting.
fn setting(path: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?;
    Some(text.trim().to_owned())
}

/// The kernel's version, as uname(2) has it.
pub fn release() -> String {
    setting("kernel/osrelease").unwrap_or_default()
}

/// In step 6, whose image of root's is id-mapped, on a kernel whose overlays
/// don't take that.
pub(crate) fn overlays_lack_id_maps() -> bool {
    let release = release();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next())
    else {
        return false;
    };
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let root_outside = uid_map.split_whitespace().nth(1);
    (major, minor) < (5, 19)
        && root_outside != Some("0")
        && has_many_ids(&uid_map)
}

/// More than one: a plain user's container maps no image.
fn has_many_ids(uid_map: &str) -> bool {
    uid_map.split_whitespace().nth(2) != Some("1")
}

/// Debian's switch; other kernels lack the file.
pub(crate) fn only_root_makes_user_namespaces() -> bool {
    setting("kernel/unprivileged_userns_clone").as_deref() == Some("0")
}

pub(crate) fn no_user_namespaces_at_all() -> bool {
    setting("user/max_user_namespaces").as_deref() == Some("0")
}

/// Ubuntu's switch, or the profile into which it puts a process that has made
/// a user namespace.
pub(crate) fn apparmor_restricts_user_namespaces() -> bool {
    let path = "kernel/apparmor_restrict_unprivileged_userns";
    setting(path).as_deref() == Some("1")
        || apparmor_profile().contains("unprivileged_userns")
}

/// Under a profile of AppArmor; Docker's is `docker-default`.
pub fn apparmor_confines() -> bool {
    let profile = apparmor_profile();
    !profile.is_empty() && !profile.contains("unconfined")
}

fn apparmor_profile() -> String {
    let security_module =
        fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !security_module.is_ok_and(|enabled| enabled.starts_with('Y')) {
        return String::new();
    }
    fs::read_to_string("/proc/self/attr/current").unwrap_or_default()
}

/// Under SELinux, where it does not only warn.
pub fn selinux_enforces() -> bool {
    fs::read_to_string("/sys/fs/selinux/enforce")
        .is_ok_and(|text| text.trim() == "1")
}

/// Under a filter of system calls, as in Docker. See seccomp(2).
pub fn seccomp_filters() -> bool {
    status("Seccomp:").as_deref() == Some("2")
}

/// Root, but without the capability that the rest of root's power hangs on.
pub(crate) fn root_lacks_power() -> bool {
    let effective = status("CapEff:").unwrap_or_default();
    let effective = u64::from_str_radix(&effective, 16).unwrap_or(u64::MAX);
    geteuid().is_root() && effective & (1 << CAP_SYS_ADMIN) == 0
}

fn status(field: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(value.trim().to_owned())
}

/// In a container of Docker or Podman, which leave a file that says so.
pub fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .into_iter()
        .any(|file| Path::new(file).exists())
}

/// On Windows, in the virtual machine of WSL.
pub fn on_wsl() -> bool {
    release().to_lowercase().contains("microsoft")
}

pub(crate) fn we_are_root() -> bool {
    geteuid().is_root()
}

/// In a chroot: none of the mounts that we can see is on our `/`.
pub fn in_chroot() -> bool {
    let mounts = mounts();
    !mounts.is_empty() && mounts.iter().all(|(place, _)| place != "/")
}

/// On the initramfs, which is never unmounted.
pub(crate) fn root_is_initramfs() -> bool {
    let on_root = |(place, _): &&(String, String)| place == "/";
    // What was mounted last is on top.
    let mounts = mounts();
    let root = mounts.iter().rfind(on_root);
    root.is_some_and(|(_, file_system)| file_system == "rootfs")
}

/// Something covers a part of `/proc`, as in Docker. The one directory that
/// systemd covers is there for that, and the kernel knows it.
pub(crate) fn proc_is_masked() -> bool {
    mounts().iter().any(|(place, _)| {
        place.starts_with("/proc/") && place != "/proc/sys/fs/binfmt_misc"
    })
}

/// The same of `/sys`, where it is usual to mount on the empty directories
/// that are there for it.
pub(crate) fn sys_is_masked() -> bool {
    mounts().iter().any(|(place, file_system)| {
        place.starts_with("/sys/")
            && file_system == "tmpfs"
            && !place.starts_with("/sys/fs/cgroup")
    })
}

/// Where something is mounted, and the type of the file system.
fn mounts() -> Vec<(String, String)> {
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let owned = |mount: Mount| {
        (mount.mount_point.to_owned(), mount.file_system.to_owned())
    };
    text.lines().filter_map(Mount::parse).map(owned).collect()
}
