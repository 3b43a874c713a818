//! Files of a workspace.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

/// Makes the directory `to` the same as `from`, and leaves alone what is: Cargo
/// goes by the times of the files.
pub fn mirror(from: &Path, to: &Path) -> anyhow::Result<()> {
    mirror_what(from, to, &|_| true)
}

/// The same for a submission: the sources, and nothing that lies beside them.
pub fn mirror_sources(from: &Path, to: &Path) -> anyhow::Result<()> {
    mirror_what(from, to, &is_source)
}

/// Whether a compiler can come to read what is at `path`. An editor and another
/// system leave files there that are none: `.lib.rs.swp`, `._lib.rs`.
#[must_use]
pub fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let is_hidden = name.as_encoded_bytes().starts_with(b".");
    let is_rust = path.extension().is_some_and(|it| it == "rs");
    let is_directory = || {
        path.symlink_metadata()
            .is_ok_and(|it| it.file_type().is_dir())
    };
    !is_hidden && (is_rust || is_directory())
}

fn mirror_what(
    from: &Path,
    to: &Path,
    is_wanted: &dyn Fn(&Path) -> bool,
) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("mkdir({to:?})"))?;
    let names = |directory: &Path| -> anyhow::Result<Vec<_>> {
        let entries = fs::read_dir(directory)
            .with_context(|| format!("opendir({directory:?})"))?;
        let names = entries.map(|entry| Ok(entry?.file_name()));
        names.collect()
    };
    let mut wanted = names(from)?;
    wanted.retain(|name| is_wanted(&from.join(name)));
    for name in names(to)? {
        let path = to.join(&name);
        let is_directory = path.symlink_metadata()?.is_dir();
        // What was a directory may be a file now.
        if wanted.contains(&name)
            && from.join(&name).symlink_metadata()?.is_dir() == is_directory
        {
            continue;
        }
        match is_directory {
            true => fs::remove_dir_all(&path)?,
            false => fs::remove_file(&path)?,
        }
    }
    for name in wanted {
        let (from, to) = (from.join(&name), to.join(&name));
        // Not through a link: it may lead anywhere.
        let kind = from.symlink_metadata()?.file_type();
        if kind.is_dir() {
            mirror_what(&from, &to, is_wanted)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    /// One submission comes after the other, to the same place.
    #[test]
    fn what_was_there_before_does_not_matter() {
        let (one, other, to) = (place(), place(), place());
        fs::create_dir(one.path().join("notes")).expect("it is ours");
        fs::write(one.path().join("notes/a.rs"), "").expect("it is ours");
        fs::write(other.path().join("notes"), "words").expect("it is ours");
        for from in [&one, &other, &one] {
            mirror(from.path(), to.path()).expect("it can be made");
            let names = |it: &Path| it.join("notes").is_dir();
            assert_eq!(names(from.path()), names(to.path()));
        }
    }

    #[test]
    fn what_lies_beside_the_sources_is_left_out() {
        let (from, to) = (place(), place());
        for name in ["lib.rs", ".lib.rs.swp", "._lib.rs", ".DS_Store", "notes"]
        {
            fs::write(from.path().join(name), b"\xff").expect("it is ours");
        }
        std::os::unix::fs::symlink("/", from.path().join("link"))
            .expect("it is ours");
        mirror_sources(from.path(), to.path()).expect("it can be made");
        let entries = fs::read_dir(to.path()).expect("it is ours").flatten();
        let names: Vec<_> = entries.map(|it| it.file_name()).collect();
        assert_eq!(names, ["lib.rs"]);
    }
}
