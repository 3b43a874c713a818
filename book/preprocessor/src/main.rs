//! What mdBook calls before it renders the book: chapters go in by standard
//! input and come out, expanded, on standard output.

use std::{env, io, path::Path, process::ExitCode};

use anyhow::Context;
use book_preprocessor::{Workspace, handout};
use mdbook_preprocessor::book::{Book, BookItem};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What is wrong in a chapter, and no backtrace of ours.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    // `supports RENDERER`: ours is HTML. Others get it too, and show it as it
    // is.
    if env::args_os().nth(1).is_some_and(|it| it == "supports") {
        return Ok(());
    }
    let (context, mut book) =
        mdbook_preprocessor::parse_input(io::stdin().lock())?;
    let top = context
        .root
        .parent()
        .context("the book is in a workspace")?;
    // Of a hand-out this is the lab's step: see `handout`.
    let lab: Option<String> = context.config.get(HANDOUT)?;
    expand(&mut book, top, lab.as_deref())?;
    serde_json::to_writer(io::stdout().lock(), &book)?;
    Ok(())
}

/// In `book.toml`: the book is a hand-out, and for which step.
const HANDOUT: &str = "preprocessor.steps.handout";

fn expand(
    book: &mut Book,
    top: &Path,
    lab: Option<&str>,
) -> anyhow::Result<()> {
    let workspace = Workspace::new(top);
    let mut result = Ok(());
    book.for_each_mut(|item| {
        let BookItem::Chapter(chapter) = item else {
            return;
        };
        let path = chapter.path.clone().unwrap_or_default();
        let content = match lab {
            Some(step) => {
                handout::prepare(&chapter.content, &workspace, step, &path)
            }
            None => chapter.content.clone(),
        };
        match book_preprocessor::expand(&content, &workspace) {
            Ok(expanded) => chapter.content = expanded,
            Err(error) if result.is_ok() => {
                result =
                    Err(error.context(format!("book/src/{}", path.display())));
            }
            Err(_) => {}
        }
    });
    result
}
