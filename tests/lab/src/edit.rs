//! Edits Rust sources by what they say, so that nothing in them need be marked:
//! the body of a function by its name, lines by their text.

use std::ops::Range;

use anyhow::{Context, bail, ensure};
use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};

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

/// The source with blanks in place of comments, strings and other literals: what
/// is left of it is code, at the same place.
pub(crate) fn blank_out(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    for token in tokenize(source, FrontmatterAllowed::No) {
        let text = &source[code.len()..][..token.len as usize];
        let is_code = !matches!(
            token.kind,
            TokenKind::LineComment { .. }
                | TokenKind::BlockComment { .. }
                | TokenKind::Literal { .. }
        );
        match is_code {
            true => code += text,
            false => code.extend(text.bytes().map(|byte| match byte {
                b'\n' => '\n',
                _ => ' ',
            })),
        }
    }
    code
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
    fn nothing_is_hidden_behind_an_odd_literal() {
        for odd in [
            r##"br#"\"#"##,
            r##"cr#"\"#"##,
            r##"r#"\"#"##,
            r#"'"'"#,
            r#"b'"'"#,
            r"b'\''",
            r"/* /* */ */",
            r"r#fn",
            r"'a",
        ] {
            let source = format!("{odd} é; visible; \"hidden\"; /* \n */ }}");
            let code = blank_out(&source);
            assert!(code.contains("visible"), "{odd}: {code}");
            assert!(!code.contains("hidden"), "{odd}: {code}");
            assert_eq!(code.len(), source.len(), "{odd}: {code}");
            assert!(code.ends_with("\n    }"), "{odd}: {code:?}");
        }
    }

    #[test]
    fn lines_are_found_by_their_text() {
        let source = "a\n  b\n  c\nb\n";
        assert_eq!(lines(source, &["b", "c"]).unwrap(), 2..10);
        lines(source, &["b"]).unwrap_err();
        lines(source, &["d"]).unwrap_err();
    }
}
