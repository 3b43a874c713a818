//! User namespaces that are refused, and their tables of ids.

use super::Row;
use crate::{
    errors::pages::{LAB_MACHINES, LINUX, USER},
    host::machine::{
        apparmor_restricts_user_namespaces, in_chroot,
        in_user_namespace_with_ids, lacks_user_namespaces,
        no_user_namespaces_at_all, only_root_makes_user_namespaces,
        root_cannot_give_ids,
    },
};

/// One is made by one call in steps 1 to 5, by another in step 6.
const NEW_USER_NAMESPACE: [&str; 3] = [
    "unshare(CLONE_NEWUSER",
    "clone3(*CLONE_NEWUSER",
    "clone(*CLONE_NEWUSER",
];

/// The files that say which ids a user namespace has.
const ID_MAP: [&str; 2] = ["write(*_map>", "write(*/setgroups>"];

pub(super) const ROWS: &[Row] = hints! {
    NEW_USER_NAMESPACE, EPERM, in_chroot =>
        "this is a chroot, in which the kernel makes no user namespaces",
        "run it outside; steps 1 to 5 need none as root",
        LINUX, met by "refusals::in_a_chroot_there_is_no_user_namespace";

    NEW_USER_NAMESPACE, EPERM, only_root_makes_user_namespaces =>
        "this kernel lets only root make user namespaces (kernel.unprivileged_userns_clone is 0)",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1, or run as root",
        LINUX, met by "refusals::user_namespaces_for_root_only";

    NEW_USER_NAMESPACE, EPERM, always =>
        "this system, or a sandbox around it, may let only root make user namespaces",
        "run as root, and outside of a sandbox; see user_namespaces(7)",
        LINUX, source "create_user_ns() in kernel/user_namespace.c";

    NEW_USER_NAMESPACE, EACCES, always =>
        "a security module forbids user namespaces (AppArmor or SELinux)",
        "run as root; `sudo dmesg | tail` shows which one",
        LINUX, source "security_create_user_ns() in kernel/user_namespace.c";

    NEW_USER_NAMESPACE, ENOSPC, no_user_namespaces_at_all =>
        "user namespaces are switched off (user.max_user_namespaces is 0)",
        "sudo sysctl -w user.max_user_namespaces=10000; steps 1 to 5 need none as root",
        LINUX, met by "refusals::user_namespaces_that_are_switched_off";

    NEW_USER_NAMESPACE, ENOSPC, always =>
        "the limit on user namespaces is reached, or there are 32 around this one",
        "sudo sysctl -w user.max_user_namespaces=10000",
        LINUX, met by "refusals::a_limit_on_user_namespaces";

    NEW_USER_NAMESPACE, EINVAL, lacks_user_namespaces =>
        "this kernel is built without user namespaces (CONFIG_USER_NS)",
        "run steps 1 to 5 as root, or use a distribution's kernel",
        USER, source "create_user_ns() in include/linux/user_namespace.h";

    // Ubuntu refuses only here: the namespace itself is made.
    ID_MAP, EPERM | EACCES, apparmor_restricts_user_namespaces =>
        NO_PROFILE, ALLOW_WITHOUT_PROFILE,
        LINUX, source "profiles/apparmor.d/unprivileged_userns of AppArmor";

    ID_MAP, EPERM, root_cannot_give_ids =>
        "root has not all of root's power here: it may not give ids away (CAP_SETUID, CAP_SETGID)",
        "run it outside of this container, or as a plain user",
        USER, met by "refusals::a_root_that_may_not_give_ids";

    ID_MAP, EPERM, in_user_namespace_with_ids =>
        "this is itself a user namespace, in which those ids don't exist",
        "run it outside, or as a plain user",
        USER, met by "refusals::a_user_namespace_with_one_id";

    [r#"execve("newuidmap"#, r#"execve("newgidmap"#], ENOENT, always =>
        "the programs that give a plain user more ids are not installed",
        "install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora)",
        USER, met by "ids::ids_are_granted_or_there_is_one_and_the_doctor_knows";

    ["newgidmap maps no group"], any, always =>
        "another group was chosen by newgrp(1) or sg(1)",
        "leave that shell",
        USER, met by "ids::ids_are_granted_or_there_is_one_and_the_doctor_knows";

    ["/etc/subuid or /etc/subgid grants nothing"], any, always =>
        "only root can grant ids to you",
        "see subuid(5), and usermod(8) on --add-subuids",
        LAB_MACHINES, met by "ids::ids_are_granted_or_there_is_one_and_the_doctor_knows";

    ["not taken from /etc/sub"], any, always =>
        "what /etc/subuid or /etc/subgid grants to you is not yours alone",
        "see subuid(5); 65536 ids that nobody else has: usermod --add-subuids",
        USER, met by "ids::ids_are_granted_or_there_is_one_and_the_doctor_knows";

    ["newuidmap can't", "newgidmap can't"], any, always =>
        "a set-uid program gains nothing under no_new_privs, which some editors' terminals, sandboxes and containers set",
        "run it in a login shell",
        USER, met by "ids::ids_are_granted_or_there_is_one_and_the_doctor_knows";

    ["newuidmap", "newgidmap"], any, always =>
        "/etc/subuid or /etc/subgid doesn't grant the ids, or the program is not set-uid root (a nosuid mount?)",
        "see newuidmap(1) and subuid(5)",
        USER, met by "ids::ids_are_granted_or_there_is_one_and_the_doctor_knows";
};

pub(super) const NO_PROFILE: &str = "AppArmor lets no program without a \
                                     profile have rights in a user namespace \
                                     (Ubuntu 23.10 and later)";

pub(super) const ALLOW_WITHOUT_PROFILE: &str = "run with sudo, or allow it until the next boot: sudo sysctl -w \
     kernel.apparmor_restrict_unprivileged_userns=0";
