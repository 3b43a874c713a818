//! What step 6 takes from its processes, and the keyring that it gives them.

use super::Row;
use crate::errors::pages::{LANDLOCK, NAMESPACES, SECCOMP};

pub(super) const ROWS: &[Row] = hints! {
    ["landlock_create_ruleset("], any, always =>
        "this kernel is older than 5.19, or was started without Landlock",
        "boot with lsm=landlock,… in front of what /sys/kernel/security/lsm lists; without it the first wall must hold",
        LANDLOCK, met by "refusals::a_kernel_without_landlock";

    ["seccomp("], EINVAL, always =>
        "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)",
        "use a distribution's kernel; steps 1 to 5 need none",
        SECCOMP, source "seccomp(2)";

    ["keyctl("], EDQUOT, always =>
        "too many keyrings",
        "sudo sysctl -w kernel.keys.maxkeys=2000",
        NAMESPACES, source "keyctl(2)";
};
