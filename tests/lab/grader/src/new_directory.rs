//! A directory that is made as a whole, or not at all.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::ensure;
use lab::build::checkout;

/// Has the directory `to` filled, which must be empty or not there, and outside
/// of the repository. If that fails, all is as it was before.
///
/// # Errors
/// `to` is no such directory; that of `fill`.
pub fn in_new_directory(
    to: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let to = resolve(to)?;
    let inside = to.starts_with(checkout().canonicalize()?);
    ensure!(!inside, "{to:?} is in the repository, next to the solution");
    let empty = fs::read_dir(&to).map_or(true, |mut it| it.next().is_none());
    ensure!(empty, "{to:?} is not empty");
    let missing = |path: &&Path| path.symlink_metadata().is_err();
    let made = to.ancestors().take_while(missing).last();
    let Err(error) = fill(&to) else {
        return Ok(());
    };
    let removed = match made {
        Some(made) if made.exists() => fs::remove_dir_all(made),
        Some(_) => Ok(()),
        None => remove_contents(&to),
    };
    match removed {
        Ok(()) => Err(error),
        Err(why) => Err(error.context(format!("{to:?} is half made: {why}"))),
    }
}

fn remove_contents(directory: &Path) -> io::Result<()> {
    // What is no directory has stayed as it was.
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry?.path();
        match path.symlink_metadata()?.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    Ok(())
}

/// Where `path` leads, with all links and `..` followed as far as there is
/// something to follow. What is to be made need not be there yet.
fn resolve(path: &Path) -> anyhow::Result<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in std::path::absolute(path)?.components() {
        match component {
            // No link is left in what stands before it.
            Component::ParentDir => {
                resolved.pop();
            }
            _ => resolved.push(component),
        }
        if let Ok(target) = resolved.canonicalize() {
            resolved = target;
        }
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use anyhow::bail;

    use super::*;

    #[test]
    fn a_path_leads_where_its_links_and_dots_lead() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let place = place.path().canonicalize().expect("it is there");
        fs::create_dir(place.join("clone")).expect("it is ours");
        symlink("clone", place.join("link")).expect("it is ours");
        for (path, expected) in [
            ("clone/../lab3", "lab3"),
            ("clone/new/../../lab3", "lab3"),
            ("link/lab3", "clone/lab3"),
            ("link/../lab3", "lab3"),
            ("lab3/./x", "lab3/x"),
        ] {
            let resolved = resolve(&place.join(path)).expect("it has no loop");
            assert_eq!(resolved, place.join(expected), "{path}");
        }
    }

    #[test]
    fn what_fails_leaves_nothing_behind() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let fail = |to: &Path| {
            in_new_directory(to, |to| {
                fs::create_dir_all(to.join("half"))?;
                bail!("no more")
            })
            .expect_err("it fails")
        };
        let left = || fs::read_dir(place.path()).expect("it is there").count();
        // A directory that was there stays, and loses what is new in it.
        let empty = place.path().join("empty");
        fs::create_dir(&empty).expect("it is ours");
        for to in [place.path().join("new/directory"), empty.clone()] {
            assert_eq!(fail(&to).to_string(), "no more");
            assert_eq!(left(), 1, "{to:?}");
        }
        fs::remove_dir(empty).expect("it is empty");
        // What is no directory is not made, and not removed.
        let file = place.path().join("file");
        fs::write(&file, "").expect("it is ours");
        fail(&file);
        assert!(file.exists());
    }
}
