//! Finds lines of a source by their text.

use std::ops::Range;

use anyhow::{Context, bail, ensure};

/// The lines that are `lines`, one after the other, whatever their indentation.
///
/// # Errors
/// They are not there, or more than once.
pub fn lines(
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
pub fn fenced(source: &str, name: &str) -> anyhow::Result<Range<usize>> {
    let find = |fence: String| {
        lines(source, &[&fence]).with_context(|| format!("finding {fence:?}"))
    };
    Ok(find(fence_above(name))?.end..find(fence_below(name))?.start)
}

/// The line above the hole `name`.
pub fn fence_above(name: &str) -> String {
    format!("// Begin of the hole `{name}`. Leave this line as it is.")
}

/// The line below it.
pub fn fence_below(name: &str) -> String {
    format!("// End of the hole `{name}`. Leave this line as it is.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_text() {
        let source = "a\n  b\n  c\nb\n";
        assert_eq!(lines(source, &["b", "c"]).unwrap(), 2..10);
        lines(source, &["b"]).unwrap_err();
        lines(source, &["d"]).unwrap_err();
    }
}
