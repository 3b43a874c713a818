//! The default root file system, and the cache that it is kept in.

use super::Row;
use crate::errors::{
    PREPARING,
    pages::{LAB_MACHINES, TROUBLESHOOTING},
};

const CACHE_ELSEWHERE: &str = "name a root file system by --rootfs; or, as a \
                               plain user, another cache by XDG_CACHE_HOME";

pub(super) const ROWS: &[Row] = hints! {
    ["flock("], ENOLCK, always =>
        "the file system has no locks to give (NFS without rpc.statd?)",
        "use a local one: XDG_CACHE_HOME=/tmp/cache-of-$USER",
        LAB_MACHINES, source "nlmclnt_lock() in fs/lockd/clntproc.c";

    ["*on the way "], any, always =>
        "others could put programs into the image, which would run as you",
        CACHE_ELSEWHERE,
        TROUBLESHOOTING, met by "cache::a_cache_that_others_can_change_is_refused";

    // The doctor's words: a step itself meets it when it executes something.
    ["*is mounted noexec"], any, always =>
        "the file system that it is on is mounted noexec",
        CACHE_ELSEWHERE,
        TROUBLESHOOTING, met by "refusals::a_cache_without_execution";

    [PREPARING], EDQUOT, always =>
        "your quota on that disk is used up",
        CACHE_ELSEWHERE,
        LAB_MACHINES, source "write(2)";

    [PREPARING], ENOSPC, always =>
        "the disk is full",
        CACHE_ELSEWHERE,
        TROUBLESHOOTING, met by "refusals::a_cache_on_a_full_disk";

    [PREPARING], EROFS, always =>
        "its place is on a read-only file system",
        CACHE_ELSEWHERE,
        TROUBLESHOOTING, met by "refusals::a_cache_that_is_read_only";

    [PREPARING], EACCES, always =>
        "its place is not yours to write",
        CACHE_ELSEWHERE,
        TROUBLESHOOTING, met by "refusals::a_cache_that_is_closed";
};
