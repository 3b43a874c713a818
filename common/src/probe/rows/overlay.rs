//! What step 5 isolates: what a container writes.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use super::{Attempt, Row, always, refused};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "set-uid files for others",
        control: always,
        attempt: Attempt::Keeping(|host| {
            let file = host.left_file();
            fs::create_dir_all(&host.directory).map_err(refused)?;
            fs::write(&file, "").map_err(refused)?;
            let mode = Permissions::from_mode(0o4755);
            fs::set_permissions(&file, mode).map_err(refused)?;
            Ok(String::new())
        }),
        reached: |host, _| host.others_have_what_is_left(),
    },
    Row {
        name: "writes to the image",
        control: always,
        attempt: Attempt::Here(|host| {
            fs::create_dir_all(&host.directory).map_err(refused)?;
            fs::write(host.written_file(), "").map_err(refused)?;
            Ok(String::new())
        }),
        // In steps 1 and 2 the image is the host itself, with our directory in
        // it.
        reached: |host, _| {
            host.written_file().exists()
                || host.written_in_image().is_some_and(|file| file.exists())
        },
    },
];
