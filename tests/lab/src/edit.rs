//! Finds in Rust sources what is to be edited by what it says, so that nothing in
//! them need be marked: the body of a function by its name. Lines are found by
//! their text: see [`lines`](crate::lines).

use std::ops::Range;

use anyhow::bail;
use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};

/// The body of the function `name`: what is between its braces.
///
/// # Errors
/// There is no such function, or more than one.
pub fn body(source: &str, name: &str) -> anyhow::Result<Range<usize>> {
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
pub fn blank_out(source: &str) -> String {
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

/// The blanks at the beginning of the line in which `at` is.
pub fn indentation(source: &str, at: usize) -> &str {
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
}
