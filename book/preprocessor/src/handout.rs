//! The book as students get it with a lab: its workspace is theirs, in which the
//! step has holes and the later ones are not there.
//!
//! So what a directive shows is what they have anyway, and nothing can be given
//! away. Where it would show what is not there, a note says so; a link to a page
//! that they don't have becomes plain text.

use std::path::Path;

use crate::{
    Workspace,
    console::Session,
    directive::Directive,
    html,
    markdown::{Part, parts, spans},
    show,
};

/// In the place of code that is not there.
const NOT_THERE: &str = "<p class=\"left-out\">The book shows code here that is \
                         yours to write, or that comes with another lab.</p>";

/// The directives that show code; the others show nothing of it.
const OF_CODE: [&str; 5] = ["diff", "hunk", "item", "file", "scoreboard"];

/// Makes of a chapter what can be expanded in a student's workspace. The lab is
/// about `step`, and the chapter is at `page` below `book/src`.
pub fn prepare(
    chapter: &str,
    workspace: &Workspace,
    step: &str,
    page: &Path,
) -> String {
    let mut prepared = String::new();
    for part in parts(chapter) {
        let text = match &part {
            Part::Fence(fence) => match Session::parse(fence) {
                Ok(session) if traces(&session, step) => traced(&session, step),
                _ => fence.text.replace("(target/book/", "(book/"),
            },
            Part::Prose { text, .. } => match Directive::parse(text) {
                Some(Ok(directive)) if is_missing(&directive, workspace) => {
                    // Once is enough for several in a row.
                    let again = prepared.trim_end().ends_with(NOT_THERE);
                    if again { "" } else { NOT_THERE }.to_owned()
                }
                Some(_) => (*text).to_owned(),
                None => unlink(text, workspace, page),
            },
        };
        prepared += text.trim_end_matches('\n');
        prepared.push('\n');
    }
    prepared
}

/// Whether a directive would show code that is not in this workspace.
fn is_missing(directive: &Directive, workspace: &Workspace) -> bool {
    OF_CODE.contains(&directive.name.as_str())
        && show(directive, workspace).is_err()
}

/// Whether a session shows each call of the lab's own step, or of a part of it,
/// such as `step06a-user`: those are what has to be found.
fn traces(session: &Session, step: &str) -> bool {
    let name = step.split('-').next().unwrap_or(step);
    let shows = |it: &str| it.contains("strace") || it.contains("--explain");
    let mut commands = session.entries.iter().flat_map(|it| &it.command);
    commands.any(|it| shows(it) && it.contains(name))
}

fn traced(session: &Session, step: &str) -> String {
    let commands = session.entries.iter().flat_map(|it| &it.command);
    let commands: Vec<String> = commands.map(|it| html::escape(it)).collect();
    format!(
        "<p class=\"left-out\">The book shows the calls of a finished \
         <code>{step}</code> here. When yours is finished, you see them \
         by:</p>\n\n<pre><code>{}</code></pre>\n",
        commands.join("\n")
    )
}

/// A line of prose without its links to pages that are not there.
fn unlink(line: &str, workspace: &Workspace, page: &Path) -> String {
    let mut kept = String::new();
    // Code in the text of a link is a piece of its own, so the line is put
    // together again with its code hidden.
    let pieces = spans(line);
    let hidden: String = pieces
        .iter()
        .enumerate()
        .map(|(index, piece)| match index % 2 {
            1 => "\0".repeat(piece.len()),
            _ => (*piece).to_owned(),
        })
        .collect();
    let mut at = 0;
    while let Some(middle) = hidden[at..].find("](").map(|it| at + it) {
        let start = hidden[at..middle].rfind('[').map(|it| at + it);
        let end = hidden[middle..].find(')').map(|it| middle + it);
        let (Some(start), Some(end)) = (start, end) else {
            break;
        };
        let target = &line[middle + 2..end];
        let image = hidden[..start].ends_with('!');
        if image || is_there(target, workspace, page) {
            kept += &line[at..=end];
        } else {
            kept += &line[at..start];
            kept += &line[start + 1..middle];
        }
        at = end + 1;
    }
    kept + &line[at..]
}

fn is_there(target: &str, workspace: &Workspace, page: &Path) -> bool {
    let (file, _) = target.split_once('#').unwrap_or((target, ""));
    if file.is_empty() || file.contains("://") {
        return true;
    }
    let directory = page.parent().unwrap_or(Path::new(""));
    let path = workspace.top.join("book/src").join(directory).join(file);
    path.exists()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn workspace(name: &str) -> (std::path::PathBuf, Workspace) {
        let name = format!("handout-{name}-{}", std::process::id());
        let top = std::env::temp_dir().join(name);
        fs::create_dir_all(top.join("book/src")).unwrap();
        fs::create_dir_all(top.join("step03-mount/src")).unwrap();
        fs::write(top.join("book/src/here.md"), "# Here\n").unwrap();
        fs::write(top.join("step03-mount/src/lib.rs"), "fn one() {}\n")
            .unwrap();
        let workspace = Workspace::new(&top);
        (top, workspace)
    }

    #[test]
    fn what_is_not_there_is_noted_once() {
        let (top, workspace) = workspace("noted");
        let chapter = "Look:\n\n{{#item step03-mount/src/lib.rs one}}\n\n\
                       {{#item step03-mount/src/lib.rs two}}\n\n\
                       {{#item step04-cgroups/src/lib.rs three}}\n\n\
                       And:\n\n{{#hunk step03-mount step04-cgroups 1}}\n";
        let page = Path::new("step03-mount.md");
        let prepared = prepare(chapter, &workspace, "step03-mount", page);
        assert_eq!(prepared.matches(NOT_THERE).count(), 2, "{prepared}");
        assert_eq!(prepared.matches("{{#").count(), 1, "{prepared}");
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn links_to_pages_that_are_not_there_are_plain_text() {
        let (top, workspace) = workspace("links");
        let line = "A [page](here.md#x), [`code`](gone.md) and \
                    [the net](https://example.org/gone.md), `[x](gone.md)`.";
        let expected = "A [page](here.md#x), `code` and \
                        [the net](https://example.org/gone.md), \
                        `[x](gone.md)`.";
        let unlinked = unlink(line, &workspace, Path::new("a.md"));
        assert_eq!(unlinked, expected);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn the_calls_of_the_step_are_not_shown() {
        let (top, workspace) = workspace("calls");
        for (command, step, shown) in [
            ("strace step03-mount run true", "step03-mount", false),
            ("strace step03-mount run true", "step04-x", true),
            ("step03-mount run --explain true", "step03-mount", false),
            ("step03-mount run --explain true", "step04-x", true),
            ("strace step06b-namespaces run true", "step06-full", false),
            ("step03-mount run true", "step03-mount", true),
        ] {
            let chapter = format!(
                "```console\nhost# {command}\npivot_root(\".\", \".\") = 0\n```\n"
            );
            let page = Path::new("step03-mount.md");
            let prepared = prepare(&chapter, &workspace, step, page);
            assert_eq!(prepared.contains("pivot_root"), shown, "{prepared}");
        }
        fs::remove_dir_all(top).unwrap();
    }
}
