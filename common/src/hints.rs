//! What to do about the failures that readers meet: one table for all steps.

use nix::errno::Errno::{self, *};

use crate::report;

/// Advice for a call that failed with an errno which has one usual cause.
struct Hint {
    /// How the failed call begins, as the error prints it.
    call: &'static str,
    /// `None`: whatever the errno is.
    errno: Option<Errno>,
    advice: &'static str,
}

const fn hint(call: &'static str, errno: Errno, advice: &'static str) -> Hint {
    Hint {
        call,
        errno: Some(errno),
        advice,
    }
}

const fn hint_for_any_errno(call: &'static str, advice: &'static str) -> Hint {
    Hint {
        call,
        errno: None,
        advice,
    }
}

const HINTS: &[Hint] = &[
    hint(
        "unshare(CLONE_NEWUSER)",
        EPERM,
        "this system lets only root make user namespaces (or this is a \
         chroot): run as root; see user_namespaces(7)",
    ),
    hint(
        "unshare(CLONE_NEWUSER)",
        ENOSPC,
        "the limit on user namespaces is reached: sysctl -w \
         user.max_user_namespaces=10000",
    ),
    hint(
        r#"write("/proc/self/uid_map""#,
        EPERM,
        "AppArmor restricts user namespaces here (Ubuntu 23.10 and \
         later): run with sudo, or give the program a profile that \
         allows userns",
    ),
    hint(
        r#"write("/proc/self/setgroups""#,
        EACCES,
        "AppArmor restricts user namespaces here (Ubuntu 23.10 and \
         later): run with sudo, or give the program a profile that \
         allows userns",
    ),
    hint(
        "clone3(",
        EPERM,
        "new namespaces need root or a user namespace; inside Docker: \
         --security-opt seccomp=unconfined --cap-add SYS_ADMIN",
    ),
    hint(
        "clone3(",
        ENOSYS,
        "this kernel is older than 5.3, or a seccomp filter refuses \
         clone3 (inside Docker: --security-opt seccomp=unconfined)",
    ),
    hint(
        "clone3(",
        ENOSPC,
        "the limit on a kind of namespace is reached: see \
         /proc/sys/user and namespaces(7)",
    ),
    hint(
        "sethostname(",
        EPERM,
        "the UTS namespace is not ours: the process must be created \
         with CLONE_NEWUTS, by root or in a user namespace",
    ),
    hint(
        "pivot_root(",
        EINVAL,
        "the new root must be a mount point in a private tree, and the \
         old root no initramfs; see pivot_root(2), ERRORS",
    ),
    hint(
        "pivot_root(",
        EBUSY,
        "the new root is the root already: --rootfs takes any directory but /",
    ),
    hint(
        r#"mount("proc""#,
        EPERM,
        "a proc file system needs a new PID namespace, and the /proc \
         here must be visible in full (inside Docker: --security-opt \
         systempaths=unconfined)",
    ),
    hint(
        r#"mount("proc""#,
        ENOENT,
        "the root file system has no directory for it; remove a broken \
         default one, and the next run builds it anew",
    ),
    hint(
        r#"mount("sysfs""#,
        EPERM,
        "sysfs needs a network namespace of its own, and the /sys here \
         must be visible in full (inside Docker: --security-opt \
         systempaths=unconfined)",
    ),
    hint(
        r#"mount("overlay""#,
        EINVAL,
        "the upper directory can't be on overlay, NFS or FUSE: name one \
         on a local file system, or leave --upper away; `dmesg | tail` \
         says more",
    ),
    hint(
        r#"mount("overlay""#,
        ELOOP,
        "a layer is given twice, or lies inside another one",
    ),
    hint(
        r#"mount("overlay""#,
        ENODEV,
        "this kernel has no overlay file system: modprobe overlay",
    ),
    hint(
        r#"mount("overlay""#,
        EPERM,
        "a plain user may mount overlays since Linux 5.11: use a newer \
         kernel, or root",
    ),
    hint(
        "no delegated cgroup",
        EROFS,
        "the cgroup file systems are read-only here (as in Docker): \
         limits can only be set outside",
    ),
    hint_for_any_errno(
        "no delegated cgroup",
        "limits need a cgroup of your own: systemd-run --user --scope -p \
         Delegate=yes -- COMMAND, or run as root",
    ),
    hint(
        r#"open("/sys/fs/cgroup"#,
        EACCES,
        "this controller is not delegated to you: put Delegate=cpu memory \
         pids into a drop-in for user@.service, or run as root",
    ),
    hint(
        r#"write("/sys/fs/cgroup"#,
        EBUSY,
        "a cgroup with processes in it can't hand out controllers: start the \
         program alone in its scope, or move the others into a leaf first",
    ),
    hint(
        "open_tree(",
        EACCES,
        "the directories above it let only others pass: chmod o+x them, \
         or use another place",
    ),
    hint(
        "move_mount(",
        EACCES,
        "the container's root is an unprivileged user outside, who \
         can't pass through a directory above it (mode 0700?): chmod \
         o+x it, or use another place",
    ),
    hint(
        "move_mount(",
        EINVAL,
        "a directory can only be shown as a directory, a file only as a \
         file",
    ),
    hint(
        "mkdirat(",
        EEXIST,
        "in the image, the destination is a symbolic link that leads \
         nowhere",
    ),
    hint(
        "openat2(",
        ELOOP,
        "in the image, the destination goes through a loop of symbolic \
         links",
    ),
    hint(
        "openat2(",
        ENOTDIR,
        "in the image, a part of the destination is a file",
    ),
    hint(
        "open(",
        ENOTDIR,
        "it takes a directory; unpack an archive first",
    ),
    hint(
        "open(",
        ELOOP,
        "a symbolic link leads back to itself: namei -l shows where",
    ),
    hint(
        "mkdir(",
        ENOSPC,
        "the disk is full; XDG_CACHE_HOME can name a cache elsewhere",
    ),
    hint(
        "mkdir(",
        EROFS,
        "it is on a read-only file system; XDG_CACHE_HOME can name a \
         cache elsewhere",
    ),
    hint(
        "keyctl(",
        EDQUOT,
        "too many keyrings: raise /proc/sys/kernel/keys/maxkeys",
    ),
];

/// The advice for `error`, when one cause is usual.
pub(crate) fn find(error: &anyhow::Error) -> Option<&'static str> {
    let errno = report::errno(error);
    let calls: Vec<String> = error.chain().map(ToString::to_string).collect();
    let fits = |hint: &&Hint| {
        (hint.errno.is_none() || hint.errno == errno)
            && calls.iter().any(|call| call.starts_with(hint.call))
    };
    HINTS.iter().find(fits).map(|hint| hint.advice)
}
