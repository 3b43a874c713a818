//! What a sandbox refuses that is around the steps: a container, a filter of
//! system calls, a security module.

use super::{
    Row,
    user_namespaces::{ALLOW_WITHOUT_PROFILE, NO_PROFILE},
};
use crate::{
    errors::pages::{CONTAINERS, LINUX},
    host::machine::{
        apparmor_confines, apparmor_takes_power, filter_refuses_namespaces,
        proc_is_masked, root_lacks_power, seccomp_filters, selinux_enforces,
        sys_is_masked,
    },
};

/// The calls of ours that Docker's default profile refuses. See
/// profiles/seccomp/default_linux.go of github.com/moby/profiles.
const REFUSED_BY_DOCKER: [&str; 9] = [
    "clone3(",
    "clone(",
    "keyctl(",
    "mount(",
    "open_tree(",
    "pivot_root(",
    "sethostname(",
    "umount2(",
    "unshare(",
];

/// The calls of ours that need a capability.
const PRIVILEGED: [&str; 12] = [
    "clone3(",
    "clone(",
    "mount(",
    "move_mount(",
    "open_tree(",
    "pivot_root(",
    "setgroups(",
    "sethostname(",
    "setresgid(",
    "setresuid(",
    "umount2(",
    "unshare(",
];

/// The calls that a security module refuses where it forbids mounts.
const MOUNTS: [&str; 5] = [
    "mount(",
    "umount2(",
    "pivot_root(",
    "open_tree(",
    "move_mount(",
];

pub(super) const ROWS: &[Row] = hints! {
    REFUSED_BY_DOCKER, EPERM, filter_refuses_namespaces =>
        "a filter of system calls refuses it, such as Docker's default profile",
        "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined, or docker run --privileged",
        CONTAINERS, met by "refusals::under_docker_s_filter_the_filter_is_named";

    PRIVILEGED, EPERM, root_lacks_power =>
        "root has not all of root's power here, as in a container",
        "docker run --privileged, or run as a plain user",
        CONTAINERS, met by "refusals::a_root_without_its_power";

    ["seccomp("], EPERM | EACCES, seccomp_filters =>
        "a filter of the sandbox around refuses another one",
        "run it outside of that sandbox",
        CONTAINERS, met by "refusals::a_filter_that_refuses_filters";

    PRIVILEGED, EPERM | EACCES, apparmor_takes_power =>
        NO_PROFILE, ALLOW_WITHOUT_PROFILE,
        LINUX, source "profiles/apparmor.d/unprivileged_userns of AppArmor";

    MOUNTS, EACCES, apparmor_confines =>
        "AppArmor's profile refuses mounts, such as Docker's (docker-default)",
        "docker run --security-opt apparmor=unconfined",
        CONTAINERS, met by "refusals::an_apparmor_profile_that_forbids_mounts";

    MOUNTS, EACCES, selinux_enforces =>
        "SELinux may refuse it",
        "sudo ausearch -m avc -ts recent tells",
        LINUX, source "ausearch(8)";

    [r#"mount("proc""#], EPERM, proc_is_masked =>
        "parts of /proc are covered here (as in Docker), and the kernel shows no more of it in a user namespace",
        "docker run --security-opt systempaths=unconfined",
        CONTAINERS, met by "refusals::a_masked_proc";

    [r#"mount("sysfs""#], EPERM, sys_is_masked =>
        "parts of /sys are covered here (as in Docker), and the kernel shows no more of it in a user namespace",
        "docker run --security-opt systempaths=unconfined",
        CONTAINERS, met by "refusals::a_masked_sys";
};
