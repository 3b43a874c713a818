//! Makes what a student gets.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use ground::STEPS;
use lab::{
    build::checkout,
    description::{Lab, description},
    files::{mirror, read},
    holes::{fill, starter},
    sealed,
};

use crate::{new_directory::in_new_directory, workshop::copy_packages};

/// Where the pages of the book are, here and in a student's workspace.
const BOOK: &str = "book/src";

/// What students have in the place of the hidden checks.
const NOT_HIDDEN: &str = "\
//! What is checked by the grader alone is not here.

use super::Check;

pub(super) const CHECKS: &[(&str, Check)] = &[];
";

/// What a workspace has beside the steps and `common`.
const FOR_STUDENTS: [&str; 2] = ["tests/ground", "tests/lab"];

/// As [`make`], but outside of the repository.
pub fn start(number: usize, to: &Path) -> anyhow::Result<()> {
    in_new_directory(to, |to| make(number, to))
}

/// Makes the workspace of lab `number` at `to`: the steps below complete, the
/// step with holes, no later one, and no solution.
pub(crate) fn make(number: usize, to: &Path) -> anyhow::Result<()> {
    let lab = Lab::load(number)?;
    let top = checkout();
    fs::create_dir_all(to).with_context(|| format!("mkdir({to:?})"))?;

    let starter = starter(&lab, &lab.sources(top)?)?;
    // The packages as a whole first; what was in the holes never gets there.
    let place = tempfile::tempdir()?;
    let clean = place.path();
    let mut packages = vec!["common"];
    packages.extend(&STEPS[..number]);
    packages.extend(FOR_STUDENTS);
    for package in &packages {
        let (from, to) = (top.join(package), clean.join(package));
        mirror(&from.join("src"), &to.join("src"))?;
        fs::copy(from.join("Cargo.toml"), to.join("Cargo.toml"))?;
    }
    for (file, text) in &starter {
        fs::write(clean.join(file), text)?;
    }
    for file in ["Cargo.toml", "Cargo.lock", "clippy.toml"] {
        fs::copy(top.join(file), clean.join(file))?;
    }
    fs::create_dir(clean.join(".cargo"))?;
    let config = read(&top.join(".cargo/config.toml"))?;
    fs::write(clean.join(".cargo/config.toml"), for_students(&config)?)?;
    copy_packages(clean, to, &packages)?;

    let description = description_for_students(number)?;
    // The hidden checks stay here.
    fs::write(to.join("tests/lab/src/checks/hidden.rs"), NOT_HIDDEN)?;
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
    // Between the fences, since students don't know which lines these are.
    let filled = fill(&lab, &starter, &lab.sources(top)?, |_| true)?;
    sealed::seal(to, &filled)?;
    sealed::note_files(to, &format!("{}/src", lab.step))
}

/// The description of a lab as students get it: without hidden checks, and
/// without the lines that a hole has taken out.
fn description_for_students(number: usize) -> anyhow::Result<String> {
    let text = fs::read_to_string(description(number))?;
    let parts = text.split("\n[[").enumerate();
    let kept = parts.filter(|(_, part)| !part.contains("\nhidden = true"));
    let kept: Vec<String> = kept
        .map(|(index, part)| match index {
            0 => part.to_owned(),
            _ => format!("\n[[{}", without_lines(part)),
        })
        .collect();
    let hidden: u32 = Lab::load(number)?
        .checks
        .iter()
        .filter(|check| check.hidden)
        .map(|check| check.points)
        .sum();
    let (step, rest) = kept[0].split_once('\n').context("it has no lines")?;
    let first = format!("{step}\nhidden = {hidden}\n{rest}");
    Ok(format!("{first}{}", kept[1..].concat()))
}

/// A part of a description without its `, lines = […]`. A line of Rust may have
/// brackets in it, so the list ends where that of the places goes on.
fn without_lines(part: &str) -> String {
    let mut pieces = part.split(", lines = [");
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find("] }").or_else(|| piece.find("], binds"));
        let rest = end.map_or("", |at| &piece[at + 1..]);
        kept += rest;
    }
    kept
}

/// Cargo's settings, with what `cargo lab` is for a student.
fn for_students(config: &str) -> anyhow::Result<String> {
    let (head, rest) = config.split_once("[alias]").context("no [alias]")?;
    let (_, tail) = rest.split_once("\n\n").context("it has no end")?;
    Ok(format!(
        "{head}[alias]\nlab = \"run --package lab --\"\n\n{tail}"
    ))
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
        let points = lab.points_of(&hole.name);
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

/// Packs the starters of all labs, each in an archive of its own.
pub fn export(to: &Path) -> anyhow::Result<Vec<PathBuf>> {
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
    use super::*;

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
}
