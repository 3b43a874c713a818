//! Looks at the pages of a hand-out: whether their links lead somewhere, nothing
//! in them is unfinished, and nothing is given away.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{bail, ensure};
use lab::files::read;

/// Checks all pages in `book`. No line of `solution` may be in them.
///
/// # Errors
/// What is wrong, and in which page.
pub(crate) fn check(book: &Path, solution: &[&str]) -> anyhow::Result<()> {
    let mut all = Vec::new();
    files(book, &mut all)?;
    let mut pages = BTreeMap::new();
    for path in &all {
        if path.extension().is_some_and(|it| it == "html") {
            let text = read(path)?;
            let names = attributes(&text, "id");
            let names: BTreeSet<String> =
                names.into_iter().map(unescaped).collect();
            pages.insert(path.clone(), (text, names));
        }
    }
    ensure!(!pages.is_empty(), "there are no pages in {book:?}");
    let mut wrong = Vec::new();
    for (path, (text, _)) in &pages {
        let mut note =
            |what: String| wrong.push(format!("{}: {what}", path.display()));
        for link in ["href", "src"]
            .into_iter()
            .flat_map(|it| attributes(text, it))
        {
            let link = unescaped(link);
            if !leads_somewhere(&link, path, &pages) {
                note(format!("a link leads nowhere: {link}"));
            }
        }
        for mark in ["{{#", "[~", "[[~", "[..]"] {
            if text.contains(mark) {
                note(format!("{mark} is in it"));
            }
        }
        if let Some(sentence) = empty_colon(text) {
            note(format!("nothing comes after the colon: {sentence}"));
        }
    }
    for path in &all {
        let name = path.to_string_lossy();
        // The index of the search has the text of all pages.
        let has_text = name.ends_with(".html") || name.contains("searchindex");
        if !has_text {
            continue;
        }
        let text = plain(&read(path)?);
        for line in solution {
            if text.contains(&plain(line)) {
                wrong.push(format!("{name} gives away: {line}"));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => bail!("{}", wrong.join("\n")),
    }
}

fn files(directory: &Path, all: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files(&path, all)?,
            false => all.push(path),
        }
    }
    Ok(())
}

/// The values of all attributes with this name.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}=\"");
    let values = page.split(&begin).skip(1);
    values
        .filter_map(|it| Some(it.split_once('"')?.0))
        .collect()
}

type Pages = BTreeMap<PathBuf, (String, BTreeSet<String>)>;

fn leads_somewhere(link: &str, page: &Path, pages: &Pages) -> bool {
    let elsewhere = ["http://", "https://", "mailto:", "data:", "javascript:"];
    if elsewhere.iter().any(|it| link.starts_with(it)) {
        return true;
    }
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.to_owned(),
        file => resolved(&page.parent().unwrap_or(page).join(file)),
    };
    match pages.get(&target) {
        Some((_, names)) => fragment.is_empty() || names.contains(fragment),
        // A server would find the page of a directory; a file has to be named.
        None => target.is_file(),
    }
}

/// A path without `..`.
fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir => {}
            _ => resolved.push(component),
        }
    }
    resolved
}

/// A paragraph that ends in a colon, and nothing comes that it could be about.
fn empty_colon(page: &str) -> Option<String> {
    let mut paragraphs = page.split("</p>").peekable();
    while let Some(text) = paragraphs.next() {
        let Some(next) = paragraphs.peek() else { break };
        let next = next.trim_start();
        let nothing = ["<p>", "<h", "</"].iter().any(|it| next.starts_with(it));
        let said = plain(text.rsplit("<p").next().unwrap_or_default());
        if nothing && said.ends_with(':') {
            return Some(said);
        }
    }
    None
}

/// The text of a page, or of an index, or of a line of code: without tags, and
/// with one blank wherever there are some.
fn plain(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        kept += &rest[..at];
        let after = &rest[at + 1..];
        let is_tag = after.starts_with(|it: char| {
            it.is_ascii_alphabetic() || it == '/' || it == '!'
        });
        match after.find('>') {
            Some(end) if is_tag => rest = &after[end + 1..],
            _ => {
                kept.push('<');
                rest = after;
            }
        }
    }
    kept += rest;
    let text = unescaped(&kept).replace("\\n", " ").replace("\\\"", "\"");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unescaped(text: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&amp;", "&"),
    ];
    let text = text.to_owned();
    pairs
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(pages: &[(&str, &str)], solution: &[&str]) -> String {
        let place = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in pages {
            fs::write(place.path().join(name), text).expect("it is ours");
        }
        match check(place.path(), solution) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_link_has_to_lead_somewhere() {
        let other = ("b.html", "<h1 id=\"x\">");
        for link in ["b.html", "b.html#x", "https://example.org", "#here"] {
            let page = format!("<a id=\"here\" href=\"{link}\">");
            assert_eq!(wrong(&[("a.html", &page), other], &[]), "", "{link}");
        }
        for link in ["c.html", "b.html#y", "#there", "../b.html"] {
            let page = format!("<a id=\"here\" href=\"{link}\">");
            let found = wrong(&[("a.html", &page), other], &[]);
            assert!(found.contains("leads nowhere"), "{link}");
        }
    }

    #[test]
    fn nothing_is_unfinished() {
        for page in ["<p>{{#item x}}</p>", "<p>[~12]</p>", "<p>a [..]</p>"] {
            let found = wrong(&[("a.html", page)], &[]);
            assert!(found.contains("is in it"), "{page}");
        }
        let empty = "<p>See <b>here</b>:</p>\n<p>More.</p>";
        assert!(wrong(&[("a.html", empty)], &[]).contains("colon"));
        let full = "<p>See:</p>\n<pre>x</pre>\n<p>More.</p>\n<p>x</p>";
        assert_eq!(wrong(&[("a.html", full)], &[]), "");
    }

    #[test]
    fn a_line_is_found_in_whatever_it_is_dressed() {
        let line = "cgroup.write(\"a\", &b)?;";
        for (name, page) in [
            ("a.html", "<b>cgroup</b>.write(&quot;a&quot;,  &amp;b)?;"),
            ("searchindex-1.js", r#"["cgroup.write(\"a\", &b)?; x"]"#),
        ] {
            let pages = [("z.html", ""), (name, page)];
            assert!(wrong(&pages, &[line]).contains("gives away"), "{page}");
        }
        let pages = [("a.html", "cgroup.write(&quot;b&quot;)")];
        assert_eq!(wrong(&pages, &[line]), "");
    }
}
