//! HTML that survives Markdown.

/// Text as HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Lines of code as the inside of a `<pre>`. An empty line would end a block of
/// HTML in Markdown, so it becomes a character reference.
pub(crate) fn code<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let lines = lines.into_iter().map(|line| match line.trim_end() {
        "" => "&#10;".to_owned(),
        line => escape(line) + "\n",
    });
    lines.collect()
}

/// The class by which highlight.js knows the language of a file.
pub(crate) fn language(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("rs") => "language-rust",
        Some("toml") => "language-toml",
        Some("sh") => "language-bash",
        _ => "language-plaintext",
    }
}

/// A block as it stands in a list item: indented like its fence was.
pub(crate) fn indented(block: &str, indent: &str) -> String {
    if indent.is_empty() {
        return block.to_owned();
    }
    let lines = block.lines().map(|line| format!("{indent}{line}\n"));
    lines.collect()
}
