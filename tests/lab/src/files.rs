//! Files of a workspace.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

/// Makes the directory `to` the same as `from`, and leaves alone what is: Cargo
/// goes by the times of the files.
pub fn mirror(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("mkdir({to:?})"))?;
    let names = |directory: &Path| -> anyhow::Result<Vec<_>> {
        let entries = fs::read_dir(directory)
            .with_context(|| format!("opendir({directory:?})"))?;
        let names = entries.map(|entry| Ok(entry?.file_name()));
        names.collect()
    };
    let wanted = names(from)?;
    for name in names(to)? {
        let path = to.join(&name);
        if wanted.contains(&name) {
            continue;
        }
        match path.is_dir() {
            true => fs::remove_dir_all(&path)?,
            false => fs::remove_file(&path)?,
        }
    }
    for name in wanted {
        let (from, to) = (from.join(&name), to.join(&name));
        // Not through a link: it may lead anywhere.
        let kind = from.symlink_metadata()?.file_type();
        if kind.is_dir() {
            mirror(&from, &to)?;
        } else {
            ensure!(kind.is_file(), "{from:?} is no regular file");
            write_if_other(&to, &fs::read(&from)?)?;
        }
    }
    Ok(())
}

/// Writes a file, unless it has these bytes already.
pub fn write_if_other(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("mkdir({parent:?})"))?;
    }
    fs::write(path, bytes).with_context(|| format!("writing {path:?}"))
}

/// The text of a file.
pub fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {path:?}"))
}
