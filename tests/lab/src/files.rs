//! Files of a workspace.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

/// So many directories may be in one another: more than in anybody's sources, and
/// few enough for functions that call themselves.
const DEEPEST: usize = 64;

/// Refuses directories of sources in one another without an end.
///
/// # Errors
/// There are too many, or one can't be read.
pub fn ensure_shallow(directory: &Path) -> anyhow::Result<()> {
    let mut all = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = all.pop() {
        ensure!(
            depth < DEEPEST,
            "more than {DEEPEST} directories are in one another"
        );
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("opendir({directory:?})"))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                all.push((entry.path(), depth + 1));
            }
        }
    }
    Ok(())
}

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
    fn directories_without_an_end_are_refused() {
        let place = place();
        let mut deep = place.path().to_owned();
        for _ in 0..DEEPEST {
            ensure_shallow(place.path()).expect("it is not too deep yet");
            deep.push("d");
            fs::create_dir(&deep).expect("it is ours");
        }
        ensure_shallow(place.path()).expect_err("too deep");
    }

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
