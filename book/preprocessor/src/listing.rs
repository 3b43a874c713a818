//! Code from the sources.

use anyhow::{Context, ensure};

use crate::{Workspace, directive::Directive, html, item};

/// `{{#item FILE NAME}}`: an item, by its name; or the part of it from the line
/// that contains one text to the line that contains another.
pub(crate) fn item(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    let [path, name] = directive.arguments(["FILE", "NAME"])?;
    let option = |name| directive.option(name, &["docs", "from", "to"]);
    let source = workspace.read(path)?;
    let found = item::find(&source, name).with_context(|| path.to_owned())?;

    let without_docs = match option("docs")? {
        None | Some("yes") => false,
        Some("no") => true,
        Some(_) => anyhow::bail!("docs=yes or docs=no"),
    };
    let is_doc = |line: &usize| found.docs.iter().any(|it| it.contains(line));
    let mut lines: Vec<&str> = source
        .lines()
        .enumerate()
        .skip(found.lines.start)
        .take(found.lines.len())
        .filter(|(number, _)| !without_docs || !is_doc(number))
        .map(|(_, line)| line)
        .collect();
    if let Some(text) = option("to")? {
        lines.truncate(only(&lines, text)? + 1);
    }
    if let Some(text) = option("from")? {
        lines.drain(..only(&lines, text)?);
    }
    Ok(figure(path, &dedented(&lines)))
}

/// `{{#file FILE}}`: the whole file, in a fold.
pub(crate) fn file(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    let [path] = directive.arguments(["FILE"])?;
    directive.option("", &[])?;
    let source = workspace.read(path)?;
    let lines: Vec<&str> = source.lines().collect();
    let figure = figure(path, &lines);
    Ok(format!(
        "<details class=\"listing\">\n\
         <summary>The whole of <code>{path}</code></summary>\n\
         {figure}</details>\n"
    ))
}

/// The one line that contains `text`.
fn only(lines: &[&str], text: &str) -> anyhow::Result<usize> {
    let mut found = (0..lines.len()).filter(|it| lines[*it].contains(text));
    let first = found.next();
    let first = first.with_context(|| format!("no line contains {text:?}"))?;
    ensure!(found.next().is_none(), "several lines contain {text:?}");
    Ok(first)
}

/// The lines without the indent that all of them have.
fn dedented<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let full = lines.iter().filter(|line| !line.trim().is_empty());
    let indent = full.map(|line| line.len() - line.trim_start().len()).min();
    let indent = indent.unwrap_or(0);
    let cut = |line: &&'a str| line.get(indent..).unwrap_or_default();
    lines.iter().map(cut).collect()
}

fn figure(path: &str, lines: &[&str]) -> String {
    format!(
        "<figure class=\"listing\">\n\
         <figcaption><code>{path}</code></figcaption>\n\
         <pre><code class=\"{}\">{}</code></pre>\n</figure>\n",
        html::language(path),
        html::code(lines.iter().copied()),
    )
}
