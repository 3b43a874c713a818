//! What step 5 isolates.

use std::fs;

use super::{Attempt, Row, always, refused};

pub(super) const ROWS: &[Row] = &[Row {
    name: "writes to the image",
    control: always,
    attempt: Attempt::Here(|host| {
        fs::create_dir_all(&host.directory).map_err(refused)?;
        fs::write(host.written_file(), "").map_err(refused)?;
        Ok(String::new())
    }),
    // In steps 1 and 2 the image is the host itself, with our directory in it.
    reached: |host, _| {
        host.written_file().exists()
            || host.written_in_image().is_some_and(|file| file.exists())
    },
}];
