//! The list of the host's files that an image was built from.
//!
//! One line each: the size in bytes, the time of the last modification, a tab,
//! the path. A file that was looked for and not found is `absent`: when
//! BusyBox or a missing tool is installed, the image is out of date, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use anyhow::Context;

/// The first line. To be raised when the code below builds something else out
/// of the same files, so that readers do not keep an old image.
const VERSION: &str = "image 2";

/// The files on which an image depends, found or not, and how they were.
#[derive(Default)]
pub(super) struct Sources(BTreeMap<PathBuf, String>);

impl Sources {
    /// Adds `path`, as it is now: it should not have been read yet. It need not
    /// exist.
    pub(super) fn add(&mut self, path: &Path) {
        self.0.insert(path.to_owned(), describe(path));
    }

    /// Writes the list to the file `list`, at once or not at all.
    ///
    /// # Errors
    ///
    /// Those of open(2), write(2) and rename(2).
    pub(super) fn write(&self, list: &Path) -> anyhow::Result<()> {
        let mut text = format!("{VERSION}\n").into_bytes();
        let mut packages = BTreeSet::new();
        for (path, description) in &self.0 {
            // Files of the same time, to the nanosecond, in one directory came
            // with one package and are replaced together. One of them in the
            // list is enough, and that halves the time of the check.
            let time = description.split_once(' ').map(|(_, time)| time);
            if time.is_some() && !packages.insert((path.parent(), time)) {
                continue;
            }
            text.extend(description.as_bytes());
            text.push(b'\t');
            text.extend(path.as_os_str().as_bytes());
            text.push(b'\n');
        }
        let new = list.with_extension("new");
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&new)
            .with_context(|| format!("open({new:?}, O_WRONLY|O_CREAT)"))?
            .write_all(&text)
            .with_context(|| format!("write({new:?})"))?;
        super::rename(&new, list)
    }
}

/// Whether all files in `list` are as they were when it was written. Reads
/// nothing but the list: this is done at each start.
pub(super) fn unchanged(list: &Path) -> bool {
    let Ok(text) = fs::read(list) else {
        return false;
    };
    let mut lines = text.split(|&byte| byte == b'\n');
    lines.next() == Some(VERSION.as_bytes())
        && lines.filter(|line| !line.is_empty()).all(line_is_true)
}

fn line_is_true(line: &[u8]) -> bool {
    let Some(tab) = line.iter().position(|&byte| byte == b'\t') else {
        return false;
    };
    let path = Path::new(OsStr::from_bytes(&line[tab + 1..]));
    describe(path).as_bytes() == &line[..tab]
}

/// Size and time of the file that `path` leads to.
fn describe(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(status) => format!(
            "{} {}.{:09}",
            status.size(),
            status.mtime(),
            status.mtime_nsec()
        ),
        Err(_) => "absent".to_owned(),
    }
}
