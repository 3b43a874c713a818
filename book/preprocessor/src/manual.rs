//! References to man pages: `mount(2)` becomes a link.

use crate::markdown::spans;

/// A reference, found in a line.
pub struct Reference<'a> {
    /// The name of the page.
    pub name: &'a str,
    /// Its section: `2`, or `2const`.
    pub section: &'a str,
}

impl Reference<'_> {
    /// Where the page is.
    pub fn url(&self) -> String {
        let Reference { name, section } = self;
        let chapter = &section[..1];
        format!(
            "https://man7.org/linux/man-pages/man{chapter}/{name}.{section}.html"
        )
    }
}

/// A line of prose with its man page references as links. Headings, code and
/// what is a link already stay as they are.
pub(crate) fn link(line: &str) -> String {
    // A heading is a link already, and what stands in a line of HTML is no
    // Markdown.
    if line.starts_with('#') || line.starts_with("<summary>") {
        return line.to_owned();
    }
    let mut linked = String::new();
    let mut brackets = 0_usize;
    for (index, piece) in spans(line).into_iter().enumerate() {
        if index % 2 == 1 {
            linked.push_str(piece);
            continue;
        }
        let mut rest = piece;
        while let Some(first) = rest.chars().next() {
            let (reference, length) = if brackets == 0 {
                match at_start(rest) {
                    Some((reference, length)) => (Some(reference), length),
                    None => (None, word(rest).max(first.len_utf8())),
                }
            } else {
                (None, first.len_utf8())
            };
            match first {
                '[' | '<' => brackets += 1,
                ']' | '>' => brackets = brackets.saturating_sub(1),
                // The address of a link.
                '(' if linked.ends_with(']') => brackets += 1,
                ')' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            let text = &rest[..length];
            match reference {
                Some(reference) => {
                    linked.push_str(&format!("[{text}]({})", reference.url()))
                }
                None => linked.push_str(text),
            }
            rest = &rest[length..];
        }
    }
    linked
}

/// The references in a line of prose.
pub fn references(line: &str) -> Vec<Reference<'_>> {
    let mut references = Vec::new();
    for piece in spans(line).into_iter().step_by(2) {
        let mut rest = piece;
        while let Some(first) = rest.chars().next() {
            let found = at_start(rest);
            let length = match found {
                Some((reference, length)) => {
                    references.push(reference);
                    length
                }
                None => word(rest).max(first.len_utf8()),
            };
            rest = &rest[length..];
        }
    }
    references
}

/// The reference with which `text` begins, and its length.
fn at_start(text: &str) -> Option<(Reference<'_>, usize)> {
    let name = &text[..word(text)];
    let after = text[name.len()..].strip_prefix('(')?;
    let (section, _) = after.split_once(')')?;
    let mut characters = section.chars();
    let is_section =
        characters.next().is_some_and(|c| ('1'..='8').contains(&c))
            && characters.all(|c| c.is_ascii_lowercase());
    let starts_well =
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (is_section && starts_well)
        .then(|| (Reference { name, section }, name.len() + section.len() + 2))
}

/// The length of the word with which `text` begins.
fn word(text: &str) -> usize {
    let belongs = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_becomes_a_link_outside_of_code_and_links() {
        assert_eq!(
            link("See mount(2), `mount(2)`, [mount(2)](x.md), f(x) and f(9)."),
            "See [mount(2)](https://man7.org/linux/man-pages/man2/mount.2.html), \
             `mount(2)`, [mount(2)](x.md), f(x) and f(9)."
        );
        let summary = "<summary>mount(2) does it.</summary>";
        assert_eq!(link(summary), summary);
        assert_eq!(references("PR_SET_PDEATHSIG(2const)")[0].section, "2const");
    }
}
