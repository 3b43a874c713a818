//! Mounts, and the root that is put in place of another.

use super::Row;
use crate::{
    errors::pages::{DEVICES, STEP_3, TROUBLESHOOTING, USER},
    host::machine::{root_is_initramfs, sys_is_away, works_in_the_root},
};

pub(super) const ROWS: &[Row] = hints! {
    ["pivot_root("], EBUSY | EINVAL, works_in_the_root =>
        "the new root is the root already",
        "--rootfs takes any directory but /",
        STEP_3, met by "refusals::the_root_as_the_new_root";

    ["pivot_root("], EINVAL, root_is_initramfs =>
        "the root is the initramfs, which no kernel before 7.0 can replace",
        "let the machine's init move on to a real root first: switch_root(8)",
        STEP_3, met by "refusals::the_initramfs_as_the_root";

    // In a lab: without `mount_root`, or without `make_private`.
    ["pivot_root("], EINVAL, always =>
        "the new root must be a mount point in a private tree",
        "see pivot_root(2), ERRORS",
        STEP_3, source "pivot_root(2)";

    // In a lab: without CLONE_NEWPID, or after `enter_root`.
    [r#"mount("proc""#], EPERM, always =>
        "in a user namespace a proc file system needs a PID namespace of its own, and another one that is to be seen in full",
        "see user_namespaces(7)",
        STEP_3, source "mount_too_revealing() in fs/namespace.c";

    [r#"mount("sysfs""#], EPERM, sys_is_away =>
        "no sysfs is mounted here, and the kernel shows no more of it in a user namespace",
        "sudo mount -t sysfs none /sys",
        DEVICES, met by "refusals::a_sys_that_is_not_mounted";

    // In a lab: without CLONE_NEWNET.
    [r#"mount("sysfs""#], EPERM, always =>
        "in a user namespace a sysfs needs a network namespace of its own, and another one that is to be seen in full",
        "see user_namespaces(7)",
        DEVICES, source "mount_too_revealing() in fs/namespace.c";

    // In a lab: without CLONE_NEWNS.
    ["mount("], EPERM, always =>
        "who mounts must be root, or have a user namespace and in it a mount namespace of its own",
        "see mount_namespaces(7)",
        STEP_3, source "mount(2)";

    ["open_tree("], EACCES, always =>
        "the container's root is an unprivileged user outside, who can't pass through a directory above it (mode 0700?)",
        "chmod o+x it, or use another place",
        DEVICES, met by "refusals::a_device_in_a_directory_that_is_closed";

    ["move_mount("], EINVAL, always =>
        "a directory can only be shown as a directory, a file only as a file",
        "look at both sides of --volume",
        DEVICES, met by "refusals::a_file_as_a_directory";

    ["mount_setattr("], EINVAL, always =>
        "this file system can't show its files with other ids (overlay, NFS; tmpfs before Linux 6.3)",
        "use a directory on ext4, xfs or btrfs, or run as a plain user; or let root inside be root outside: --root-is-root-outside",
        USER, met by "refusals::an_image_that_cannot_be_id_mapped";

    ["mount_setattr(", "open_tree(", "move_mount(", "openat2(", "close_range("], ENOSYS, always =>
        "this kernel is older than 5.12, or a filter of system calls refuses it",
        "use a newer kernel; in Docker: --security-opt seccomp=unconfined",
        TROUBLESHOOTING, met by "refusals::a_kernel_without_the_newer_calls";

    ["close_range("], EINVAL, always =>
        "this kernel is older than 5.11",
        "use a newer kernel",
        TROUBLESHOOTING, source "close_range(2)";
};
