//! The diff from one file to another, as HTML.

use anyhow::{Context, bail, ensure};
use ground::{main_of, manifest_of};
use similar::{ChangeTag, TextDiff};

use crate::{Workspace, directive::Directive, html};

/// A line of a diff: whether it is there before, after, or both.
pub struct Line<'a> {
    /// Removed, added, or neither.
    pub change: ChangeTag,
    /// The line, with its line break.
    pub text: &'a str,
}

/// Changed lines with some unchanged ones around them.
pub struct Hunk<'a> {
    /// The index of its first line in the old file.
    pub start: usize,
    /// Its lines.
    pub lines: Vec<Line<'a>>,
}

/// How many unchanged lines are shown on both sides of a change.
const CONTEXT: usize = 1;

/// The hunks that lead from `old` to `new`, with `context` unchanged lines
/// around each. Changes with no more than twice as many between them are one
/// hunk.
pub fn hunks<'a>(old: &'a str, new: &'a str, context: usize) -> Vec<Hunk<'a>> {
    let diff = TextDiff::from_lines(old, new);
    let hunk = |operations: &Vec<similar::DiffOp>| Hunk {
        start: operations[0].old_range().start,
        lines: operations
            .iter()
            .flat_map(|operation| diff.iter_changes(operation))
            .map(|change| Line {
                change: change.tag(),
                text: change.value(),
            })
            .collect(),
    };
    diff.grouped_ops(context).iter().map(hunk).collect()
}

/// Whether this is the path of a file; otherwise it is a step or a part of one.
fn is_file(name: &str) -> bool {
    name.rsplit('/')
        .next()
        .is_some_and(|last| last.contains('.'))
}

/// The file that a step or a path stands for.
fn path(name: &str) -> String {
    match is_file(name) {
        true => name.to_owned(),
        false => main_of(name),
    }
}

/// `{{#diff OLD NEW}}`: both files as one, with what is removed and what is
/// added; of two steps their manifests as well, if they have not the same one.
pub(crate) fn whole(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    let [old, new] = directive.arguments(["OLD", "NEW"])?;
    directive.option("", &[])?;
    let mut files = vec![(path(old), path(new))];
    let manifests = (manifest_of(old), manifest_of(new));
    if !is_file(old) && manifests.0 != manifests.1 {
        files.push(manifests);
    }
    let mut figures = String::new();
    for (old, new) in &files {
        figures += &whole_file(old, new, workspace)?;
    }
    Ok(format!(
        "<details class=\"diff\">\n\
         <summary>The whole diff from <code>{old}</code> to \
         <code>{new}</code></summary>\n{figures}</details>\n"
    ))
}

/// Two files as one figure. Without its removed lines it is the new file, and
/// without its added ones the old one.
pub fn whole_file(
    old: &str,
    new: &str,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    let (before, after) = (workspace.read(old)?, workspace.read(new)?);
    let everything = before.lines().count() + after.lines().count();
    let mut hunks = hunks(&before, &after, everything);
    let hunk = hunks.pop().with_context(|| {
        format!("there is no difference between {old} and {new}")
    })?;
    Ok(figure(new, &hunk.lines))
}

/// `{{#hunk OLD NEW WHICH}}`: one hunk, by its number or by a text that one of
/// its changed lines contains.
pub(crate) fn one(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    let [old, new, which] = directive.arguments(["OLD", "NEW", "WHICH"])?;
    let context = match directive.option("context", &["context"])? {
        Some(number) => number.parse().context("context=NUMBER")?,
        None => CONTEXT,
    };
    let (old, new) = (path(old), path(new));
    let (before, after) = (workspace.read(&old)?, workspace.read(&new)?);
    let hunks = hunks(&before, &after, context);
    let count = hunks.len();
    if let Ok(number) = which.parse::<usize>() {
        let hunk = number.checked_sub(1).and_then(|index| hunks.get(index));
        let hunk = hunk.with_context(|| {
            format!("there is no hunk {number}: there are {count}")
        })?;
        return Ok(figure(&new, &hunk.lines));
    }
    let has_it = |hunk: &&Hunk| {
        let changed = |line: &&Line| line.change != ChangeTag::Equal;
        let mut changed = hunk.lines.iter().filter(changed);
        changed.any(|line| line.text.contains(which))
    };
    let mut found = hunks.iter().filter(has_it);
    match (found.next(), found.next()) {
        (Some(hunk), None) => Ok(figure(&new, &hunk.lines)),
        (None, _) => bail!("no changed line contains {which:?}"),
        (Some(_), Some(_)) => bail!("several hunks contain {which:?}"),
    }
}

/// The lines of a diff, highlighted by highlight.js as what the file is.
/// `<ins>` and `<del>` say without colours what is new and what is gone.
fn figure(path: &str, lines: &[Line]) -> String {
    let count = |tag| lines.iter().filter(|line| line.change == tag).count();
    let (added, removed) = (count(ChangeTag::Insert), count(ChangeTag::Delete));
    let class = html::language(path);
    let mut text = format!(
        "<figure class=\"diff\">\n\
         <figcaption><code>{path}</code> <span class=\"count\">+{added} \
         −{removed}</span></figcaption>\n<pre><code class=\"{class}\">"
    );
    for line in lines {
        let tag = match line.change {
            ChangeTag::Insert => "ins",
            ChangeTag::Delete => "del",
            ChangeTag::Equal => "span",
        };
        let code = html::escape(line.text);
        text += &format!("<{tag} class=\"line\">{code}</{tag}>");
    }
    text + "</code></pre>\n</figure>\n"
}

/// The old and the new file, from what [`whole_file`] makes of them.
pub fn undo(figure: &str) -> anyhow::Result<(String, String)> {
    let (mut old, mut new) = (String::new(), String::new());
    let (_, lines) = figure.split_once("<pre><code").context("a figure")?;
    let (_, lines) = lines.split_once('>').context("an opening tag")?;
    let (lines, _) = lines.split_once("</code></pre>").context("its end")?;
    let mut rest = lines;
    while !rest.is_empty() {
        let (opening, after) = rest.split_once('>').context("a tag")?;
        let tag = opening.strip_suffix(" class=\"line\"").context("a line")?;
        let closing = tag.replace('<', "</") + ">";
        let (line, after) = after.split_once(&closing).context("its end")?;
        ensure!(!line.contains('<'), "not escaped: {line}");
        let line = line
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&amp;", "&");
        if tag != "<ins" {
            old += &line;
        }
        if tag != "<del" {
            new += &line;
        }
        rest = after;
    }
    Ok((old, new))
}
