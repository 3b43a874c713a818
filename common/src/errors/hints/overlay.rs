//! The overlay of step 5, and what is in its layers.

use super::Row;
use crate::{
    errors::pages::{STEP_5, USER},
    host::machine::{overlays_are_for_root, overlays_lack_id_maps},
};

const OVERLAY: [&str; 1] = [r#"mount("overlay""#];

pub(super) const ROWS: &[Row] = hints! {
    ["upperdir is on "], EINVAL, always =>
        "that file system can't hold what a container writes",
        "leave --upper away, or name a directory on a local disk or a tmpfs: mount -t tmpfs tmpfs DIR",
        STEP_5, met by "refusals::an_upper_directory_on_an_overlay";

    OVERLAY, EINVAL, overlays_lack_id_maps =>
        "before Linux 5.19 an overlay takes no image whose ids are mapped, as root's are",
        "use a newer kernel, or run as a plain user; or let root inside be root outside: --root-is-root-outside",
        USER, source "\"idmapped layers are currently not supported\" in fs/overlayfs/super.c, up to Linux 5.18";

    OVERLAY, EINVAL, always =>
        "the kernel does not take one of the layers: the upper directory must be on a local file system, for example",
        "`sudo dmesg | tail` says more; leave --upper away, or name another one",
        STEP_5, source "ovl_get_upper() and ovl_get_workdir() in fs/overlayfs/super.c";

    OVERLAY, ELOOP, always =>
        "a layer is given twice, or lies inside another one",
        "name different directories",
        STEP_5, met by "refusals::a_layer_that_is_given_twice";

    OVERLAY, ENODEV, always =>
        "this kernel has no overlay file system loaded",
        "sudo modprobe overlay",
        STEP_5, source "mount(2)";

    OVERLAY, EPERM, overlays_are_for_root =>
        "a plain user may mount overlays since Linux 5.11",
        "use a newer kernel, or root",
        STEP_5, source "FS_USERNS_MOUNT in fs/overlayfs/super.c";

    ["the container can't delete or rename"], any, always =>
        "a tmpfs has attributes user.* since Linux 6.6: before, what a container deletes in its image can't be noted there (EIO)",
        "a newer kernel, or --upper DIR on a disk",
        STEP_5, met by "refusals::memory_without_attributes";
};
