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

use crate::{
    handout,
    new_directory::in_new_directory,
    variant::{NOTE, Task},
    workshop::copy_packages,
};

/// What boots a virtual machine, for `cargo lab check --vm`.
const FOR_VM: [&str; 3] = ["init", "prepare", "run"];

/// What students have in the place of the hidden checks.
const NOT_HIDDEN: &str = "\
//! What is checked by the grader alone is not here.

use super::Check;

pub(super) const CHECKS: &[(&str, Check)] = &[];
";

/// What a workspace has beside the steps and `common`.
const FOR_STUDENTS: [&str; 2] = ["tests/ground", "tests/lab"];

/// As `make`, but outside of the repository.
///
/// # Errors
/// It can't be made there.
pub fn start(task: &Task, to: &Path) -> anyhow::Result<()> {
    in_new_directory(to, |to| {
        make(task, to)?;
        if let Err(error) = handout::mdbook() {
            eprintln!("without the book: {error:#}");
            return Ok(());
        }
        handout::render(task, to)
    })
}

/// Makes the workspace of lab `number` at `to`: the steps below complete, the
/// step with holes, no later one, and no solution.
pub(crate) fn make(task: &Task, to: &Path) -> anyhow::Result<()> {
    let (lab, number) = (&task.lab, task.lab.number());
    let solution = task.solution()?;
    let top = checkout();
    fs::create_dir_all(to).with_context(|| format!("mkdir({to:?})"))?;

    let starter = starter(lab, &solution)?;
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

    let description = description_for_students(task)?;
    // The hidden checks stay here.
    fs::write(to.join("tests/lab/src/checks/hidden.rs"), NOT_HIDDEN)?;
    let labs = to.join("tests/lab/labs");
    fs::create_dir_all(&labs)?;
    fs::write(labs.join(format!("step{number:02}.toml")), description)?;
    fs::remove_dir_all(to.join("target")).ok();
    fs::write(to.join(".gitignore"), "/target\n")?;
    // For those whose students work on GitHub.
    let workflows = to.join(".github/workflows");
    fs::create_dir_all(&workflows)?;
    let workflow = "tests/lab/grader/classroom/check.yml";
    fs::copy(top.join(workflow), workflows.join("check.yml"))?;
    fs::copy(top.join("rustfmt.toml"), to.join("rustfmt.toml"))?;
    let readme = readme(lab, &task.description());
    fs::write(to.join("README.md"), readme)?;
    copy_vm(to)?;
    say_where_the_book_is(to)?;
    for (file, text) in &starter {
        let kept = to.join(".lab/starter").join(file);
        fs::create_dir_all(kept.parent().unwrap_or(to))?;
        fs::write(kept, text)?;
    }
    // Between the fences, since students don't know which lines these are.
    let filled = fill(lab, &starter, &solution, |_| true)?;
    sealed::seal(to, &filled)?;
    fs::write(to.join(NOTE), format!("{}\n", task.number))?;
    sealed::note_files(to, &format!("{}/src", lab.step))
}

/// The description of a lab as students get it: without hidden checks, and
/// without the lines that a hole has taken out.
fn description_for_students(task: &Task) -> anyhow::Result<String> {
    let text = fs::read_to_string(description(task.lab.number()))?;
    let text = task.describe(&text);
    let parts = text.split("\n[[").enumerate();
    let kept = parts.filter(|(_, part)| !part.contains("\nhidden = true"));
    let kept: Vec<String> = kept
        .map(|(index, part)| match index {
            0 => part.to_owned(),
            _ => format!("\n[[{}", without_lines(part)),
        })
        .collect();
    let hidden = task.lab.points_hidden();
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

fn readme(lab: &Lab, variant: &str) -> String {
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
    text += &format!("\nTogether that is {} points", lab.points_shown());
    text += &match lab.points_hidden() {
        0 => ", as in the grade.\n".to_owned(),
        hidden => format!(
            ". The grade has {hidden} more, by hidden checks: they try what \
             the documentation says, too, but you don't get them.\n"
        ),
    };
    text += variant;
    text += &format!(
        "\nOpen `{BOOK}/index.html` in a browser: the book up to the chapter \
         that goes with it, `{BOOK}/{}.html`, and how to work here, \
         `{BOOK}/labs.html`.\n",
        lab.step
    );
    text += "\n\
        ```console\n\
        $ cargo lab check       # builds it, and says what is right and what not\n\
        $ cargo lab check --vm  # in a virtual machine what can't be tried here\n\
        $ cargo lab watch       # checks whenever you save\n\
        $ cargo lab hint        # one more hint for the first empty hole\n\
        $ cargo lab reset       # back to the beginning; yours is in .lab/before\n\
        ```\n\n\
        Change files in the directory of this step only: the others are \
        replaced before your work is graded.\n\
        Leave the imports, and the two lines around each hole of `main.rs`, as \
        they are.\n";
    text
}

/// Where the pages of the book are, in a student's workspace.
const BOOK: &str = "book";

/// What `cargo lab check --vm` starts.
fn copy_vm(to: &Path) -> anyhow::Result<()> {
    let (from, to) = (checkout().join("tests/vm"), to.join("tests/vm"));
    fs::create_dir_all(&to)?;
    for name in FOR_VM {
        // With its mode: it is a program.
        fs::copy(from.join(name), to.join(name))?;
    }
    Ok(())
}

/// Nobody has to build the book there.
fn say_where_the_book_is(to: &Path) -> anyhow::Result<()> {
    let path = to.join("common/src/errors/advice.rs");
    let text = read(&path)?;
    let told = text.replace("(target/book/{}.html)", "(book/{}.html)");
    ensure!(text != told, "{path:?} names no page any more");
    Ok(fs::write(path, told)?)
}

/// Packs the starters of all labs, each in an archive of its own.
///
/// # Errors
/// One of them can't be made, or there is no mdBook.
pub fn export(to: &Path, variant: u32) -> anyhow::Result<Vec<PathBuf>> {
    handout::mdbook()?;
    fs::create_dir_all(to).with_context(|| format!("mkdir({to:?})"))?;
    let place = tempfile::tempdir()?;
    let mut archives = Vec::new();
    for number in 1..=STEPS.len() {
        let mut name = format!("lab{number}");
        if variant > 0 {
            name += &format!("-variant{variant}");
        }
        let task = Task::load(number, variant)?;
        start(&task, &place.path().join(&name))?;
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
            let task = Task::load(3, 0).expect("a lab");
            let error = start(&task, &inside).expect_err("beside it");
            assert!(error.to_string().contains("next to"), "{error:#}");
        }
    }

    /// In the guide for teachers, on the student's screen and in the grade.
    #[test]
    fn points_are_the_same_everywhere() {
        let guide = checkout().join("book/src/instructors-guide.md");
        let guide = read(&guide).expect("it is there");
        for number in 1..=STEPS.len() {
            let lab = Lab::load(number).expect("a lab");
            let row = guide.lines().find_map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                let is_own = cells.get(2)?.starts_with(&format!("{number}, "));
                is_own.then(|| cells[3..6].join(" "))
            });
            let (holes, all) = (lab.holes.len(), lab.points());
            let hidden = lab.points_hidden();
            let expected = format!("{holes} {all} {hidden}");
            assert_eq!(row.expect("a row"), expected, "lab {number}");

            let task = Task::load(number, 0).expect("a lab");
            let students = description_for_students(&task).expect("lines");
            let students: Lab = toml::from_str(&students).expect("a lab");
            assert_eq!(students.points(), lab.points_shown(), "lab {number}");
            assert_eq!(students.hidden, hidden, "lab {number}");
            let readme = readme(&lab, "");
            assert_eq!(readme, self::readme(&students, ""), "lab {number}");
            for hole in &lab.holes {
                let name = &hole.name;
                let points = lab.points_of(name);
                assert_eq!(students.points_of(name), points, "{name}");
                let line = format!("- `{name}`, {points} points\n");
                assert!(readme.contains(&line), "{line}");
            }
            assert!(hidden == 0 || readme.contains("by hidden checks"));
        }
    }
}
