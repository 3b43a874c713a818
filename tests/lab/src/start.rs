//! Makes what a student gets.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::{
    lab::{Lab, description_for_students},
    workshop::{STEPS, checkout, copy_packages, mirror, read},
};

/// Where the pages of the book are, here and in a student's workspace.
const BOOK: &str = "book/src";

/// As [`make`], but outside of the repository.
pub(crate) fn start(number: usize, to: &Path) -> anyhow::Result<()> {
    in_new_directory(to, |to| make(number, to))
}

/// Has the directory `to` filled, which must be empty or not there, and outside
/// of the repository. If that fails, all is as it was before.
///
/// # Errors
/// `to` is no such directory; that of `fill`.
pub(crate) fn in_new_directory(
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

/// Makes the workspace of lab `number` at `to`: the steps below complete, the
/// step with holes, no later one, and no solution.
pub(crate) fn make(number: usize, to: &Path) -> anyhow::Result<()> {
    let lab = Lab::load(number)?;
    let top = checkout();
    fs::create_dir_all(to).with_context(|| format!("mkdir({to:?})"))?;

    let starter = lab.starter(&lab.sources(top)?)?;
    // The packages as a whole first; what was in the holes never gets there.
    let place = tempfile::tempdir()?;
    let clean = place.path();
    let mut packages = vec!["common"];
    packages.extend(&STEPS[..number]);
    packages.push("tests/lab");
    for package in &packages {
        mirror(&top.join(package), &clean.join(package))?;
    }
    for (file, text) in &starter {
        fs::write(clean.join(file), text)?;
    }
    let labs = clean.join("tests/lab/labs");
    fs::remove_dir_all(&labs)?;
    fs::create_dir_all(&labs)?;
    fs::remove_dir_all(clean.join("tests/lab/gradescope")).ok();
    for file in ["Cargo.toml", "Cargo.lock", "clippy.toml"] {
        fs::copy(top.join(file), clean.join(file))?;
    }
    fs::create_dir(clean.join(".cargo"))?;
    fs::copy(
        top.join(".cargo/config.toml"),
        clean.join(".cargo/config.toml"),
    )?;
    copy_packages(clean, to, &packages)?;

    let description = description_for_students(number)?;
    let labs = to.join("tests/lab/labs");
    fs::create_dir_all(&labs)?;
    fs::write(labs.join(format!("step{number:02}.toml")), description)?;
    fs::remove_dir_all(to.join("target")).ok();
    fs::write(to.join(".gitignore"), "/target\n")?;
    fs::copy(top.join("rustfmt.toml"), to.join("rustfmt.toml"))?;
    fs::write(to.join("README.md"), readme(&lab))?;
    copy_book(&lab, to)?;
    for (file, text) in &starter {
        let kept = to.join(".lab/starter").join(file);
        fs::create_dir_all(kept.parent().unwrap_or(to))?;
        fs::write(kept, text)?;
    }
    Ok(())
}

fn readme(lab: &Lab) -> String {
    let mut text = format!(
        "# Lab {}: `{}`\n\n\
         The steps below are complete, and this one has holes. Each of them \
         panics with its name until you fill it:\n\n",
        lab.number(),
        lab.step
    );
    for hole in &lab.holes {
        let checks = lab.checks.iter().filter(|it| it.hole == hole.name);
        let points: u32 =
            checks.filter(|it| !it.hidden).map(|it| it.points).sum();
        text += &format!("- `{}`, {points} points\n", hole.name);
    }
    text += &format!(
        "\nThe chapter that goes with it is `{BOOK}/{}.md`.\n",
        lab.step
    );
    text += "\n\
        ```console\n\
        $ cargo lab check    # builds it, and says what is right and what not\n\
        $ cargo lab watch    # the same, whenever you save\n\
        $ cargo lab hint     # one more hint for the first empty hole\n\
        $ cargo lab reset    # back to the beginning; yours goes to .lab/before\n\
        ```\n\n\
        Change files in the directory of this step only: the others are \
        replaced before your work is graded.\n\
        Leave the imports, and the two lines around each hole of `main.rs`, as \
        they are.\n";
    text
}

/// The book up to the chapter of this step, at the paths that error messages
/// name, but without what it takes from the sources.
fn copy_book(lab: &Lab, to: &Path) -> anyhow::Result<()> {
    let source = checkout().join(BOOK);
    let book = to.join(BOOK);
    for page in ["glossary.md", "troubleshooting.md", "cgroup-versions.md"] {
        copy_pages(&source, &book, page)?;
    }
    copy_pages(&source.join("setting-up"), &book.join("setting-up"), "")?;
    for step in &STEPS[..lab.number()] {
        copy_pages(&source, &book, &format!("{step}.md"))?;
        // The pages below a chapter, if it has some.
        copy_pages(&source.join(step), &book.join(step), "")?;
    }
    Ok(())
}

fn copy_pages(from: &Path, to: &Path, prefix: &str) -> anyhow::Result<()> {
    // A student's workspace has no book.
    let entries = fs::read_dir(from).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(prefix) || !name.ends_with(".md") {
            continue;
        }
        let text = read(&entry.path())?;
        let lines = text.lines().filter(|line| !line.starts_with("{{#"));
        let text = lines.collect::<Vec<_>>().join("\n") + "\n";
        fs::create_dir_all(to)?;
        fs::write(to.join(name), text)?;
    }
    Ok(())
}

/// Puts a student's step back to the beginning, and keeps what was there.
pub(crate) fn reset() -> anyhow::Result<()> {
    let lab = Lab::of_student()?;
    let top = checkout();
    let place = (1..)
        .map(|count| top.join(format!(".lab/before/{count}")))
        .find(|place| !place.exists())
        .context("no number is free")?;
    mirror(&top.join(&lab.step).join("src"), &place)?;
    for file in lab.sources(&top.join(".lab/starter"))?.keys() {
        fs::copy(top.join(".lab/starter").join(file), top.join(file))?;
    }
    println!("What you had is in {}.", place.display());
    Ok(())
}

/// Packs the starters of all labs, each in an archive of its own.
pub(crate) fn export(to: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(to).with_context(|| format!("mkdir({to:?})"))?;
    let place = tempfile::tempdir()?;
    let mut archives = Vec::new();
    for number in 1..=STEPS.len() {
        let name = format!("lab{number}");
        start(number, &place.path().join(&name))?;
        let archive = to.join(format!("{name}.tar.gz"));
        let status = Command::new("tar")
            .args(["--owner=0", "--group=0", "--sort=name", "-czf"])
            .arg(&archive)
            .arg("-C")
            .arg(place.path())
            .arg(&name)
            .status()
            .context("running tar")?;
        ensure!(status.success(), "tar has failed");
        archives.push(archive);
    }
    Ok(archives)
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
    fn no_lab_is_started_in_the_repository() {
        let top = checkout();
        let name = top.file_name().expect("it is not the root");
        for inside in [
            top.join("lab3"),
            top.join("x/../lab3"),
            top.join("..").join(name).join("lab3"),
        ] {
            let error = start(3, &inside).expect_err("beside the solution");
            assert!(error.to_string().contains("next to"), "{error:#}");
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
