//! What is particular about the machine: the circumstances under which a call
//! fails that works elsewhere.
//!
//! An errno alone is not a cause: `EPERM` has a dozen. Each function here looks
//! at one circumstance, when a hint asks for it (those of `errors`).

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use anyhow::ensure;
use nix::{
    sched::CloneFlags,
    sys::{
        statfs::statfs,
        statvfs::{FsFlags, statvfs},
    },
    unistd::{getegid, geteuid, getpid},
};

use super::mountinfo::Mount;
use crate::sys;

/// The inode number of the first user namespace, PROC_USER_INIT_INO in the
/// kernel's sources. It is the same on every machine.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// The capability that no container keeps, and the rest of root's power hangs
/// on. See capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;

/// Whether this process is in the first user namespace, that of the host. It
/// needs `/proc` to see that.
pub fn in_initial_user_namespace() -> bool {
    fs::metadata("/proc/self/ns/user")
        .is_ok_and(|namespace| namespace.ino() == INITIAL_USER_NAMESPACE)
}

/// In another one: a container, for example.
pub fn in_user_namespace() -> bool {
    fs::metadata("/proc/self/ns/user")
        .is_ok_and(|namespace| namespace.ino() != INITIAL_USER_NAMESPACE)
}

/// Checks that `/proc` counts processes as we do. To be called before one is
/// looked up there by its number: in the `/proc` of another PID namespace, that
/// is the number of somebody else, perhaps on the host. See pid_namespaces(7).
///
/// # Errors
/// It does not, or there is none.
pub fn check_proc() -> anyhow::Result<()> {
    let there = sys::readlink("/proc/self")?;
    let here = getpid().to_string();
    ensure!(
        there == *here,
        "/proc is of another PID namespace: this process is {} there, and \
         {here} here",
        there.display()
    );
    Ok(())
}

/// Checks that our ids are in the tables of this user namespace: the kernel
/// makes none for somebody who is nobody (`EPERM`). See user_namespaces(7).
///
/// # Errors
/// They are not. Where there is no `/proc` to tell, nothing is known.
pub fn check_ids() -> anyhow::Result<()> {
    for (file, id) in [
        ("uid_map", geteuid().as_raw()),
        ("gid_map", getegid().as_raw()),
    ] {
        let Ok(table) = fs::read_to_string(format!("/proc/self/{file}")) else {
            continue;
        };
        ensure!(
            has_id(&table, id),
            "{id} is not in the {file} of this user namespace"
        );
    }
    Ok(())
}

/// Whether one of the ranges in a table of ids holds `id`, as seen from inside.
pub(crate) fn has_id(table: &str, id: u32) -> bool {
    table.lines().any(|line| {
        let numbers = line.split_whitespace().map(str::parse::<u64>);
        let numbers: Vec<u64> = numbers.flatten().collect();
        let [first, _, count] = numbers[..] else {
            return false;
        };
        (first..first + count).contains(&id.into())
    })
}

/// Whether this process may do what `capability` stands for. In doubt it may.
pub fn has_capability(capability: u32) -> bool {
    let effective = status("CapEff:").unwrap_or_default();
    let effective = u64::from_str_radix(&effective, 16).unwrap_or(u64::MAX);
    effective & (1 << capability) != 0
}

/// In another one that has its table of ids: not one that this process has just
/// made.
pub(crate) fn in_user_namespace_with_ids() -> bool {
    let uid_map = fs::read_to_string("/proc/self/uid_map");
    in_user_namespace() && uid_map.is_ok_and(|text| !text.is_empty())
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
    let magic = u32::try_from(statfs(path).ok()?.filesystem_type().0).ok()?;
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

/// Whether the kernel is older than this version. In doubt it is not.
fn is_before(version: (u32, u32)) -> bool {
    let release = release();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < version,
        _ => false,
    }
}

/// The kernel lets only the host's root mount overlays.
pub(crate) fn overlays_are_for_root() -> bool {
    is_before((5, 11)) && in_user_namespace()
}

/// In step 6, whose image of root's is id-mapped, on a kernel whose overlays
/// don't take that.
pub(crate) fn overlays_lack_id_maps() -> bool {
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let root_outside = uid_map.split_whitespace().nth(1);
    is_before((5, 19)) && root_outside != Some("0") && has_many_ids(&uid_map)
}

/// More than one: a plain user's container maps no image.
fn has_many_ids(uid_map: &str) -> bool {
    uid_map.split_whitespace().nth(2) != Some("1")
}

/// The kernel was built without this kind of namespace. It needs `/proc` to see
/// that.
fn lacks_namespace(kind: &str) -> bool {
    let namespaces = Path::new("/proc/self/ns");
    namespaces.exists() && !namespaces.join(kind).exists()
}

pub(crate) fn lacks_user_namespaces() -> bool {
    lacks_namespace("user")
}

/// Without one of the kinds that the steps make. Mount namespaces are always
/// there.
pub(crate) fn lacks_a_namespace() -> bool {
    ["uts", "pid", "net", "ipc", "cgroup"]
        .into_iter()
        .any(lacks_namespace)
}

/// What this process forks goes to another PID namespace than its own: that is
/// what `unshare --pid` does, if it is not to fork. A namespace whose first
/// process has ended can't be looked at.
pub(crate) fn children_go_elsewhere() -> bool {
    let namespace = |link: &str| {
        let path = Path::new("/proc/self/ns").join(link);
        fs::metadata(path).ok().map(|namespace| namespace.ino())
    };
    let own = namespace("pid");
    own.is_some() && namespace("pid_for_children") != own
}

/// Debian's switch; other kernels lack the file.
pub(crate) fn only_root_makes_user_namespaces() -> bool {
    setting("kernel/unprivileged_userns_clone").as_deref() == Some("0")
}

pub(crate) fn no_user_namespaces_at_all() -> bool {
    setting("user/max_user_namespaces").as_deref() == Some("0")
}

/// No program may be made in memory, but as a file that can't be executed.
pub(crate) fn memory_is_noexec() -> bool {
    setting("vm/memfd_noexec").as_deref() == Some("2")
}

/// Ubuntu's switch, which is not for root, or the profile behind it.
pub(crate) fn apparmor_restricts_user_namespaces() -> bool {
    let path = "kernel/apparmor_restrict_unprivileged_userns";
    let restricts = setting(path).as_deref() == Some("1");
    restricts && !geteuid().is_root() || apparmor_takes_power()
}

/// Under the profile into which Ubuntu puts a process that has made a user
/// namespace: none of the capabilities that it has there are of any use.
pub(crate) fn apparmor_takes_power() -> bool {
    apparmor_profile().contains("unprivileged_userns")
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

/// Under one that refuses to make namespaces. It is asked by a call that does
/// nothing, and that the kernel itself never refuses.
pub(crate) fn filter_refuses_namespaces() -> bool {
    seccomp_filters() && sys::unshare(CloneFlags::empty()).is_err()
}

/// Root, but without the capability that the rest of root's power hangs on.
pub(crate) fn root_lacks_power() -> bool {
    geteuid().is_root() && !has_capability(CAP_SYS_ADMIN)
}

/// Root, but without the right to give ids to a user namespace.
pub(crate) fn root_cannot_give_ids() -> bool {
    let may =
        has_capability(sys::CAP_SETUID) && has_capability(sys::CAP_SETGID);
    geteuid().is_root() && !may
}

/// Under a policy for real-time processes: SCHED_FIFO or SCHED_RR, which are 1
/// and 2 in linux/sched.h. It is field 41 of `/proc/PID/stat`, see proc(5).
pub(crate) fn is_real_time() -> bool {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in parentheses, with anything in it.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    matches!(rest.split_whitespace().nth(41 - 3), Some("1" | "2"))
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

/// In a chroot: none of the mounts that we can see is on our `/`.
pub fn in_chroot() -> bool {
    let mounts = mounts();
    !mounts.is_empty() && mounts.iter().all(|(place, _)| place != "/")
}

/// The working directory is the root, so that no root can take its place.
pub(crate) fn works_in_the_root() -> bool {
    let identity = |path| {
        let status = fs::metadata(path).ok()?;
        Some((status.dev(), status.ino()))
    };
    identity(".").is_some_and(|here| identity("/") == Some(here))
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

/// No sysfs is mounted here: a container must not see more than that.
pub(crate) fn sys_is_away() -> bool {
    let mounts = mounts();
    !mounts.is_empty() && mounts.iter().all(|(_, it)| it != "sysfs")
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
