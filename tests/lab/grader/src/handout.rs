//! The book that goes with a lab, as pages that open without a server.
//!
//! It is made in a copy of what the student gets, so that it can't show more
//! than that: see `handout` of the book's preprocessor.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use ground::STEPS;
use lab::{
    build::{checkout, target_of},
    description::Lab,
    files::{mirror, read},
};

use crate::variant::Task;

/// What turns Markdown into pages, and another place where it is.
const MDBOOK: &str = "MDBOOK";

/// How to get it.
const INSTALL: &str =
    "cargo install mdbook --version 0.5.4 --root target/tools";

/// Pages that go with every lab, by how their names begin. Those of the steps
/// come with them.
const PAGES: [&str; 9] = [
    "why.md",
    "introduction.md",
    "setting-up/",
    "rust.md",
    "plumbing.md",
    "cgroup-versions.md",
    "troubleshooting.md",
    "glossary.md",
    "labs.md",
];

/// Where mdBook is.
///
/// # Errors
/// There is none, and how to get one.
pub(crate) fn mdbook() -> anyhow::Result<PathBuf> {
    let given = env::var_os(MDBOOK).map(PathBuf::from);
    let ours = target_of(checkout()).join("tools/bin/mdbook");
    let found = given.or_else(|| ours.exists().then_some(ours));
    let program = found.unwrap_or_else(|| "mdbook".into());
    let works = Command::new(&program).arg("--version").output();
    let works = works.is_ok_and(|it| it.status.success());
    ensure!(works, "no mdBook, which makes the pages: {INSTALL}");
    Ok(program)
}

/// Makes the pages in `book` of the `student`'s workspace.
///
/// # Errors
/// There is no mdBook; a page can't be made.
pub(crate) fn render(task: &Task, student: &Path) -> anyhow::Result<()> {
    let lab = &task.lab;
    let mdbook = mdbook()?;
    let place = tempfile::tempdir()?;
    let top = place.path();
    link_sources(lab, student, top)?;
    let (from, to) = (checkout().join("book"), top.join("book"));
    for directory in ["style", "theme", "src/pictures"] {
        mirror(&from.join(directory), &to.join(directory))?;
    }
    let kept = |page: &str| goes_with(lab, page);
    for page in pages(&from.join("src"), "")? {
        if kept(&page) {
            let path = to.join("src").join(&page);
            fs::create_dir_all(path.parent().unwrap_or(&to))?;
            fs::copy(from.join("src").join(&page), path)?;
        }
    }
    let chapter = to.join("src").join(format!("{}.md", lab.step));
    let text = with_note(&read(&chapter)?, &task.description());
    fs::write(chapter, text)?;
    let summary = read(&from.join("src/SUMMARY.md"))?;
    fs::write(to.join("src/SUMMARY.md"), shortened(&summary, kept))?;
    fs::copy(from.join("book.toml"), to.join("book.toml"))?;

    let output = Command::new(mdbook)
        .arg("build")
        .arg(&to)
        .arg("--dest-dir")
        .arg(top.join("html"))
        .envs(settings(lab))
        .env("CARGO_TARGET_DIR", target_of(checkout()))
        .output()
        .context("running mdBook")?;
    let says = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the book: {says}");
    mirror(&top.join("html"), &student.join("book"))?;
    // Git's, and that of a server.
    for name in [".nojekyll", "404.html"] {
        fs::remove_file(student.join("book").join(name)).ok();
    }
    Ok(())
}

/// A chapter with a note below its title: it explains the lab itself, and a
/// variant is another one.
fn with_note(chapter: &str, variant: &str) -> String {
    let (title, rest) = chapter.split_once('\n').unwrap_or((chapter, ""));
    let quoted =
        variant
            .trim()
            .lines()
            .map(|line| match line.strip_prefix("## ") {
                Some(heading) => format!("> **{heading}**\n"),
                None => format!("> {line}\n"),
            });
    format!("{title}\n\n{}\n{rest}", quoted.collect::<String>())
}

/// What the pages show of the sources.
fn link_sources(lab: &Lab, student: &Path, top: &Path) -> anyhow::Result<()> {
    let own = [lab.step.as_str()];
    let below = STEPS.iter().filter(|it| student.join(it).exists());
    for package in below.copied().chain(["common"]) {
        if !own.contains(&package) {
            symlink(student.join(package), top.join(package))?;
        }
    }
    let step = top.join(&lab.step);
    fs::create_dir(&step)?;
    for name in ["src", "Cargo.toml"] {
        symlink(student.join(&lab.step).join(name), step.join(name))?;
    }
    let examples = checkout().join(&lab.step).join("examples");
    if examples.is_dir() {
        fs::create_dir(step.join("examples"))?;
        for page in fs::read_dir(examples)? {
            let page = page?;
            let text = without_holes(lab, &read(&page.path())?);
            fs::write(step.join("examples").join(page.file_name()), text)?;
        }
    }
    fs::create_dir_all(top.join("tests/suite"))?;
    symlink(
        checkout().join("tests/suite/snapshots"),
        top.join("tests/suite/snapshots"),
    )?;
    Ok(())
}

/// A part of a step, with a remark in the place of the lines that are holes.
fn without_holes(lab: &Lab, text: &str) -> String {
    let hole_of = |line: &str| {
        let mut holes = lab.holes.iter();
        let is_in = |text: &String| text.trim() == line.trim();
        let places = |it: &lab::description::Hole| {
            it.places.iter().any(|place| place.lines.iter().any(is_in))
        };
        holes.find(|it| places(it)).map(|it| it.name.as_str())
    };
    let lines = text.lines().map(|line| match hole_of(line) {
        Some(name) => {
            let indent = line.len() - line.trim_start().len();
            format!("{:indent$}// The hole `{name}`.\n", "")
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// Whether a page goes with a lab.
fn goes_with(lab: &Lab, page: &str) -> bool {
    let steps = STEPS[..lab.number()].iter();
    let mut of_steps =
        steps.flat_map(|it| [format!("{it}.md"), format!("{it}/")]);
    PAGES.iter().any(|it| page.starts_with(it))
        || of_steps.any(|it| page.starts_with(&it))
}

/// All pages below a directory.
fn pages(directory: &Path, below: &str) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            all.extend(pages(&entry.path(), &format!("{below}{name}/"))?);
        } else if name.ends_with(".md") {
            all.push(format!("{below}{name}"));
        }
    }
    Ok(all)
}

/// A table of contents with these pages only, and no heading without a page.
fn shortened(summary: &str, kept: impl Fn(&str) -> bool) -> String {
    let page = |line: &str| {
        let (_, rest) = line.split_once("](")?;
        Some(rest.split_once(')')?.0.to_owned())
    };
    let mut text = String::new();
    let mut heading = String::new();
    for line in summary.lines() {
        match page(line) {
            Some(page) if kept(&page) => {
                text += &format!("{heading}{line}\n");
                heading.clear();
            }
            Some(_) => {}
            None if line.starts_with("# ") => {
                heading = format!("\n{line}\n\n");
            }
            None => text += &format!("{line}\n"),
        }
    }
    text
}

/// How a hand-out differs from what `book.toml` says. mdBook reads settings in
/// variables, too.
fn settings(lab: &Lab) -> [(&'static str, String); 5] {
    let preprocessor = format!(
        "cargo run --quiet --manifest-path {:?} --package book-preprocessor",
        checkout().join("Cargo.toml")
    );
    let title = format!("A container in six steps: lab {}", lab.number());
    [
        ("MDBOOK_BOOK__TITLE", title),
        ("MDBOOK_PREPROCESSOR__STEPS__COMMAND", preprocessor),
        ("MDBOOK_PREPROCESSOR__STEPS__HANDOUT", lab.step.clone()),
        // All pages in one, and a page for a server.
        ("MDBOOK_OUTPUT__HTML__PRINT__ENABLE", "false".to_owned()),
        ("MDBOOK_OUTPUT__HTML__INPUT_404", String::new()),
    ]
}
