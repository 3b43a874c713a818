//! Turns what a chapter names into what it shows: the diff from one step to the
//! next, a function of a step, a scoreboard, a picture, a console session.
//!
//! Nothing that the book shows is pasted into it, so nothing can be stale: a
//! file, an item or a hunk that is not there fails the build. A directive stands
//! alone in its line, outside of code, as mdBook's own `{{#include}}`:
//!
//! | directive | shows |
//! |---|---|
//! | `{{#diff OLD NEW}}` | the whole diff, in a fold |
//! | `{{#hunk OLD NEW WHICH [context=N]}}` | one hunk of it, by its number or by a text in its changed lines |
//! | `{{#item FILE NAME [docs=no] [from="TEXT"] [to="TEXT"]}}` | an item, or the lines of it between two texts |
//! | `{{#file FILE}}` | a whole file, in a fold |
//! | `{{#scoreboard STEP [user=plain_user]}}` | what the step's probe says |
//! | `{{#scoreboard OLD NEW}}` | the rows that differ between two steps |
//! | `{{#scoreboards}}` | all steps side by side |
//! | `{{#scoreboards STEP…}}` | the rows in which these differ, side by side |
//! | `{{#picture FILE "ALT" ["CAPTION"] [part=N]}}` | a picture of `src/pictures`, its Nth part coloured |
//! | `{{#minutes FAST FULL [typed=no]}}` | how long the page takes, and where to type |
//! | `{{#timetable}}` | the minutes of all pages, and their sum |
//!
//! `OLD` and `NEW` are steps (their `src/main.rs`), parts of step 6 (its
//! examples) or files; `STEP` may be a part as well. Paths begin at the top of
//! the workspace.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

pub mod console;
pub mod diff;
mod directive;
pub mod handout;
mod html;
mod item;
mod listing;
pub mod manual;
pub mod markdown;
mod minutes;
mod picture;
mod scoreboard;

use directive::Directive;
use markdown::Part;

/// The checkout from which the book takes what it shows.
pub struct Workspace {
    top: PathBuf,
}

impl Workspace {
    /// The workspace at `top`.
    pub fn new(top: &Path) -> Workspace {
        Workspace { top: top.into() }
    }

    /// The text of a file.
    pub fn read(&self, path: &str) -> anyhow::Result<String> {
        fs::read_to_string(self.top.join(path))
            .with_context(|| format!("open({path:?})"))
    }
}

/// A chapter with all its directives, console sessions and man page references
/// turned into HTML.
pub fn expand(chapter: &str, workspace: &Workspace) -> anyhow::Result<String> {
    let mut expanded = String::new();
    for part in markdown::parts(chapter) {
        let html = match &part {
            Part::Fence(fence) if fence.language() == "console" => {
                let session = console::Session::parse(fence)
                    .with_context(|| format!("line {}", fence.line))?;
                html::indented(&session.html(), fence.indent)
            }
            Part::Fence(fence) => fence.text.to_owned(),
            Part::Prose { line, text } => match Directive::parse(text) {
                Some(directive) => directive
                    .and_then(|it| show(&it, workspace))
                    .with_context(|| format!("line {line}: {}", text.trim()))?,
                None => manual::link(text),
            },
        };
        expanded.push_str(&html);
        if !html.ends_with('\n') {
            expanded.push('\n');
        }
    }
    Ok(expanded)
}

pub(crate) fn show(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    match directive.name.as_str() {
        "diff" => diff::whole(directive, workspace),
        "hunk" => diff::one(directive, workspace),
        "item" => listing::item(directive, workspace),
        "file" => listing::file(directive, workspace),
        "scoreboard" => scoreboard::one(directive, workspace),
        "scoreboards" => scoreboard::all(directive, workspace),
        "picture" => picture::show(directive, workspace),
        "minutes" => minutes::head(directive),
        "timetable" => minutes::table(directive, workspace),
        name => anyhow::bail!("there is no directive #{name}"),
    }
}
