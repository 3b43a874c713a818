//! Paths that somebody has named: an image, a volume, a working directory.

use super::Row;
use crate::errors::pages::{DEVICES, STEP_3, TROUBLESHOOTING};

/// What opens the working directory of a command.
const WORKDIR: [&str; 1] = ["openat2(AT_FDCWD*RESOLVE_NO_MAGICLINKS"];

/// What opens the destination of a volume.
const DESTINATION: [&str; 1] = ["openat2(*RESOLVE_IN_ROOT"];

pub(super) const ROWS: &[Row] = hints! {
    WORKDIR, ELOOP, always =>
        "a link to a descriptor, such as one in /proc/self, is no place to work in; or links lead in a circle",
        "name the directory itself",
        STEP_3, met by "refusals::a_link_to_a_descriptor_as_working_directory";

    WORKDIR, ENOTDIR, always =>
        "in the image, a part of that path is a file",
        "name a directory",
        STEP_3, met by "refusals::a_file_as_working_directory";

    ["mkdirat(", "mknodat("], EEXIST, always =>
        "in the image, the destination is a symbolic link that leads nowhere",
        "name another destination",
        DEVICES, met by "refusals::a_destination_that_leads_nowhere";

    DESTINATION, ELOOP, always =>
        "in the image, the destination goes through a loop of symbolic links",
        "name another destination",
        DEVICES, met by "refusals::a_destination_in_a_loop_of_links";

    DESTINATION, ENOTDIR, always =>
        "in the image, a part of the destination is a file",
        "name another destination",
        DEVICES, met by "refusals::a_destination_below_a_file";

    ["open("], ENOTDIR, always =>
        "it takes a directory",
        "unpack an archive first",
        TROUBLESHOOTING, met by "refusals::a_file_as_the_new_root";

    ["open("], ELOOP, always =>
        "a symbolic link leads back to itself",
        "namei -l shows where",
        TROUBLESHOOTING, met by "refusals::a_loop_of_links_as_the_new_root";

    ["mkdir(", "mkdirat("], EROFS, always =>
        "the directory is missing, and its file system is read-only",
        "make it where that is not",
        TROUBLESHOOTING, met by "refusals::a_read_only_image_without_places_to_mount_on";

    ["mkdir(", "mkdirat("], EACCES, always =>
        "the directory above is not yours to write",
        "use another one",
        TROUBLESHOOTING, met by "refusals::an_image_of_somebody_else";
};
