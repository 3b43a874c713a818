//! Edits Rust sources by what they say, so that nothing in them need be marked:
//! the body of a function by its name, lines by their text.

use std::ops::Range;

use anyhow::{Context, bail, ensure};

/// The body of the function `name`: what is between its braces.
///
/// # Errors
/// There is no such function, or more than one.
pub(crate) fn body(source: &str, name: &str) -> anyhow::Result<Range<usize>> {
    let code = blank_out(source);
    let mut found = Vec::new();
    for (at, word) in code.match_indices(&format!("fn {name}")) {
        let behind = code[at + word.len()..].chars().next();
        if matches!(behind, Some('(' | '<')) {
            found.push(braces(&code, at)?);
        }
    }
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => bail!("there is no function {name}"),
        _ => bail!("there is more than one function {name}"),
    }
}

/// What is between the first brace behind `from` and the one that closes it.
fn braces(code: &str, from: usize) -> anyhow::Result<Range<usize>> {
    let mut depth = 0;
    let mut start = from;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' => {
                depth += 1;
                if depth == 1 {
                    start = at + 1;
                }
            }
            b'}' if depth == 1 => return Ok(start..at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    bail!("a brace is not closed")
}

/// The source with blanks in place of comments, strings and characters: what is
/// left of it is code, at the same place.
pub(crate) fn blank_out(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let length = not_code(&source[at..], at, bytes);
        if length == 0 {
            at += source[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        for byte in &mut code[at..at + length] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += length;
    }
    // Only ASCII was written, over whole characters.
    String::from_utf8(code).unwrap_or_default()
}

/// The length of the comment, string or character that begins here; 0 if none
/// does.
fn not_code(rest: &str, at: usize, bytes: &[u8]) -> usize {
    let until = |end: &str, from: usize| {
        let rest = rest.get(from..).unwrap_or_default();
        from + rest.find(end).map_or(rest.len(), |found| found + end.len())
    };
    let in_a_word = at > 0
        && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    if rest.starts_with('"') {
        return quoted(rest, b'"');
    }
    if rest.starts_with('r') && !in_a_word {
        let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
        if rest[1 + hashes..].starts_with('"') {
            return until(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
        }
    }
    if let Some(character) = rest.strip_prefix('\'') {
        // Otherwise it is a lifetime.
        let mut characters = character.chars();
        let first = characters.next();
        if first == Some('\\') || characters.next() == Some('\'') {
            return quoted(rest, b'\'');
        }
    }
    0
}

/// The length of what stands in quotes.
fn quoted(rest: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The lines that are `lines`, one after the other, whatever their indentation.
///
/// # Errors
/// They are not there, or more than once.
pub(crate) fn lines(
    source: &str,
    lines: &[impl AsRef<str>],
) -> anyhow::Result<Range<usize>> {
    ensure!(!lines.is_empty(), "no lines are named");
    let mut starts = Vec::new();
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        starts.push((at, line.trim()));
        at += line.len();
    }
    let matches = |window: &[(usize, &str)]| {
        window
            .iter()
            .zip(lines)
            .all(|((_, line), wanted)| *line == wanted.as_ref().trim())
    };
    let windows = starts.windows(lines.len()).enumerate();
    let found: Vec<usize> = windows
        .filter(|(_, window)| matches(window))
        .map(|(index, _)| index)
        .collect();
    let text = || {
        lines
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let [index] = found[..] else {
        bail!("these lines are there {} times:\n{}", found.len(), text());
    };
    let end = starts.get(index + lines.len()).map_or(at, |(end, _)| *end);
    Ok(starts[index].0..end)
}

/// What is between the two lines of comment that fence the hole `name` of a
/// starter.
///
/// # Errors
/// One of the two is gone.
pub(crate) fn fenced(source: &str, name: &str) -> anyhow::Result<Range<usize>> {
    let find = |fence: String| {
        lines(source, &[&fence]).with_context(|| format!("finding {fence:?}"))
    };
    Ok(find(fence_above(name))?.end..find(fence_below(name))?.start)
}

/// The line above the hole `name`.
pub(crate) fn fence_above(name: &str) -> String {
    format!("// Begin of the hole `{name}`. Leave this line as it is.")
}

/// The line below it.
pub(crate) fn fence_below(name: &str) -> String {
    format!("// End of the hole `{name}`. Leave this line as it is.")
}

/// The blanks at the beginning of the line in which `at` is.
pub(crate) fn indentation(source: &str, at: usize) -> &str {
    let start = source[..at].rfind('\n').map_or(0, |found| found + 1);
    let line = &source[start..];
    &line[..line.len() - line.trim_start_matches(' ').len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r##"
/// Says "fn hello() {".
fn hello<'a>(name: &'a str) -> char {
    // A brace: }
    let raw = r#"a " and a }"#;
    println!("{{}} \" {name} {raw}");
    '}'
}

fn hello_again() {}
"##;

    #[test]
    fn a_body_ends_where_its_brace_is_closed() {
        let body = &SOURCE[body(SOURCE, "hello").unwrap()];
        assert!(body.starts_with("\n    // A brace"), "{body}");
        assert!(body.ends_with("'}'\n"), "{body}");
        assert_eq!(&SOURCE[super::body(SOURCE, "hello_again").unwrap()], "");
        super::body(SOURCE, "hell").unwrap_err();
    }

    #[test]
    fn lines_are_found_by_their_text() {
        let source = "a\n  b\n  c\nb\n";
        assert_eq!(lines(source, &["b", "c"]).unwrap(), 2..10);
        lines(source, &["b"]).unwrap_err();
        lines(source, &["d"]).unwrap_err();
    }
}
