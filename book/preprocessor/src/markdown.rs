//! As much Markdown as we need: what is code, and what is not.

/// A part of a chapter.
pub enum Part<'a> {
    /// A line outside of code.
    Prose {
        /// Its number, from 1.
        line: usize,
        /// Its text, without the line break.
        text: &'a str,
    },
    /// A fenced block of code.
    Fence(Fence<'a>),
}

/// A fenced block of code. See <https://spec.commonmark.org/>.
pub struct Fence<'a> {
    /// The number of its first line, from 1.
    pub line: usize,
    /// The white space in front of the fence.
    pub indent: &'a str,
    /// What stands behind the opening fence.
    pub info: &'a str,
    /// The lines between the fences, without the indent.
    pub body: Vec<&'a str>,
    /// The whole block as it stands in the chapter.
    pub text: &'a str,
}

impl<'a> Fence<'a> {
    /// The language: the first word of the info string.
    pub fn language(&self) -> &'a str {
        let end = self.info.find([',', ' ']).unwrap_or(self.info.len());
        &self.info[..end]
    }
}

/// Takes a chapter apart.
pub fn parts(chapter: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut offset = 0;
    let mut lines = chapter.split_inclusive('\n').zip(1..);
    while let Some((whole, line)) = lines.next() {
        let start = offset;
        offset += whole.len();
        let text = whole.trim_end_matches('\n');
        let Some((indent, marker, info)) = opening(text) else {
            parts.push(Part::Prose { line, text });
            continue;
        };
        let mut body = Vec::new();
        for (whole, _) in lines.by_ref() {
            offset += whole.len();
            let text = whole.trim_end();
            if text.trim_start().starts_with(marker)
                && text.trim().trim_start_matches(&marker[..1]).is_empty()
            {
                break;
            }
            body.push(text.strip_prefix(indent).unwrap_or(text.trim_start()));
        }
        parts.push(Part::Fence(Fence {
            line,
            indent,
            info,
            body,
            text: &chapter[start..offset],
        }));
    }
    parts
}

/// The indent, the fence itself and the info string.
fn opening(line: &str) -> Option<(&str, &str, &str)> {
    let trimmed = line.trim_start();
    let indent = &line[..line.len() - trimmed.len()];
    let character = trimmed.chars().next().filter(|c| "`~".contains(*c))?;
    let info = trimmed.trim_start_matches(character);
    let marker = &trimmed[..trimmed.len() - info.len()];
    // With a backtick behind them they are a span of code.
    let is_fence = marker.len() >= 3 && !info.contains('`');
    is_fence.then(|| (indent, marker, info.trim()))
}

/// Splits a line of prose where code spans begin and end; every second piece
/// is code, with its backticks.
pub fn spans(line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..].chars().take_while(|c| *c == '`').count();
        let marker = &rest[start..start + ticks];
        let inside = &rest[start + ticks..];
        let Some(end) = inside.find(marker) else {
            break;
        };
        let (code, after) = rest[start..].split_at(2 * ticks + end);
        pieces.extend([&rest[..start], code]);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_ends_at_its_own_kind() {
        let chapter = "a\n````rust,x=1\n```\nb\n````\nc\n";
        let [
            Part::Prose { .. },
            Part::Fence(fence),
            Part::Prose { line, .. },
        ] = &parts(chapter)[..]
        else {
            panic!("three parts");
        };
        assert_eq!(fence.language(), "rust");
        assert_eq!(fence.body, ["```", "b"]);
        assert_eq!(fence.text, "````rust,x=1\n```\nb\n````\n");
        assert_eq!(*line, 6);
    }

    #[test]
    fn code_spans_are_every_second_piece() {
        assert_eq!(
            spans("a `b` c ``d ` e``"),
            ["a ", "`b`", " c ", "``d ` e``", ""]
        );
    }
}
