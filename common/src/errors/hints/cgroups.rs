//! Limits that can't be set.

use super::Row;
use crate::{
    errors::pages::{CGROUPS, CONTAINERS, LINUX, WSL},
    host::machine::{is_real_time, on_wsl},
};

/// What makes the cgroup of a run, and asks beforehand whether it may. The name
/// begins with that of the project.
const NEW_CGROUP: [&str; 2] =
    ["mkdir(*/container-in-six-steps.", "access(*, W_OK"];

/// What moves a process into a cgroup, or hands out a controller to those that
/// are there.
const ENTERED: [&str; 3] = [
    "write(*/tasks>",
    "write(*/cgroup.procs>",
    "write(*/cgroup.subtree_control>",
];

const NO_CONTROLLER: [&str; 1] = ["no *controller"];

pub(super) const ROWS: &[Row] = hints! {
    NEW_CGROUP, EROFS, always =>
        "the cgroup file systems are read-only here, as in Docker",
        "limits can only be set outside, or with docker run --privileged",
        CONTAINERS, met by "refusals::read_only_cgroups";

    NEW_CGROUP, EACCES | EPERM, always =>
        "no cgroup is yours",
        "run as root; or, with systemd and cgroup version 2: systemd-run --user --scope -p Delegate=yes -- COMMAND",
        LINUX, met by "refusals::no_delegated_cgroup";

    NEW_CGROUP, EAGAIN, always =>
        "the cgroup above allows no more below it (cgroup.max.descendants, cgroup.max.depth)",
        "raise it, or start it from another cgroup; see cgroups(7)",
        CGROUPS, met by "refusals::a_cgroup_that_allows_none_below_it";

    ENTERED, EINVAL, is_real_time =>
        "a cgroup takes a real-time process only with real-time of its own (CONFIG_RT_GROUP_SCHED)",
        "start it with the usual policy: chrt --other 0 COMMAND; see sched(7)",
        CGROUPS, met by "refusals::a_real_time_process";

    ["write(*/cgroup.subtree_control>"], EBUSY, always =>
        "a cgroup with processes in it can't hand out controllers",
        "start the program alone in a scope: systemd-run --user --scope -p Delegate=yes -- COMMAND",
        CGROUPS, met by "refusals::a_cgroup_with_other_processes";

    [r#"open(*/cgroup.subtree_control""#, "write(*/cgroup.subtree_control>"], EACCES | EPERM | ENOENT, always =>
        "a controller is not delegated to you",
        "put Delegate=cpu cpuset io memory pids into /etc/systemd/system/user@.service.d/delegate.conf and log in again, or run as root",
        LINUX, met by "refusals::a_delegated_cgroup_without_controllers";

    ["write(*/cpu.cfs_quota_us>"], EINVAL, always =>
        "on version 1 no cgroup can have more of the CPU than those above it",
        "ask for no more by --cpus, or start it from another cgroup",
        CGROUPS, met by "cgroups::more_cpus_than_the_cgroup_above_has_are_explained";

    ["open(*/cpu.cfs_quota_us", "open(*/cpu.max"], ENOENT, always =>
        "this kernel is built without limits on the CPU (CONFIG_CFS_BANDWIDTH)",
        "use a distribution's kernel",
        CGROUPS, source "CONFIG_CFS_BANDWIDTH in kernel/sched/core.c";

    NO_CONTROLLER, any, on_wsl =>
        "this WSL is too old for it",
        "wsl --update in Windows",
        WSL, source "release notes of WSL 2.5.1";

    NO_CONTROLLER, any, always =>
        "the kernel was started without it, or nobody hands it to this cgroup",
        "boot with cgroup_enable=memory (a Raspberry Pi), or systemd.unified_cgroup_hierarchy=1 on an old system; see cgroups(7)",
        CGROUPS, met by "refusals::a_cgroup_without_the_controller";

    ["the cgroup /*is not below any mount"], any, always =>
        "the tree of cgroups is not mounted here, or only a part of it",
        "sudo mount -t cgroup2 none /sys/fs/cgroup, or run it outside of this container",
        CGROUPS, met by "refusals::cgroups_that_are_not_mounted";
};
