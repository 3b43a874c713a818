//! Pictures, put into the page itself, so that they take its colours.

use std::cmp::Ordering;

use anyhow::{Context, ensure};

use crate::{Workspace, directive::Directive, html};

/// `{{#picture FILE "ALT" "CAPTION" part=N}}`. Who can't see it gets `ALT`, so
/// that may not be empty. The groups of a picture that have the classes `part-1`
/// and so on are parts: the Nth is coloured, and those after it are faint. Those
/// that have the classes `at-1` and so on are moments: below the picture a box
/// lets them appear one after the other.
pub(crate) fn show(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    let part = directive.option("part", &["part"])?;
    let (name, alt, caption) = match directive.count() {
        3 => {
            let [name, alt, caption] =
                directive.arguments(["FILE", "ALT", "CAPTION"])?;
            (
                name,
                alt,
                format!("<figcaption>{}</figcaption>\n", html::escape(caption)),
            )
        }
        _ => {
            let [name, alt] = directive.arguments(["FILE", "ALT"])?;
            (name, alt, String::new())
        }
    };
    ensure!(
        !alt.trim().is_empty(),
        "a picture needs an alternative text"
    );
    let svg = workspace.read(&format!("book/src/pictures/{name}"))?;
    let start = svg.find("<svg ");
    ensure!(start.is_some(), "{name} is no SVG picture");
    let svg = &svg[start.unwrap_or_default()..];
    let alt = html::escape(alt);
    // A picture that also stands alone, as the chart does, says so itself.
    let svg = svg.replacen(" role=\"img\"", "", 1);
    let svg = svg.replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{alt}\" "),
        1,
    );
    let svg = match part {
        Some(part) => {
            let part = part.parse().context("part=NUMBER")?;
            colour(&svg, part).with_context(|| name.to_owned())?
        }
        None => svg,
    };
    // An empty line would end the block of HTML.
    let lines = svg.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<&str> = lines.collect();
    let svg = lines.join("\n");
    let moves = match svg.contains("class=\"at-1") {
        true => MOVES,
        false => "",
    };
    // One without a caption has nothing in it to be read.
    let larger = if caption.is_empty() { "" } else { LARGER };
    Ok(format!(
        "<figure class=\"picture\">\n{svg}\n{moves}{larger}{caption}</figure>\n"
    ))
}

/// What a reader ticks to see one moment after the other. The style sheet does the
/// rest, and hides it where nothing should move.
const MOVES: &str = "<label class=\"moves\"><input type=\"checkbox\"> \
    one after the other</label>\n";

/// What a reader ticks on a phone, where a picture is as small as the page: then
/// it can be read, and scrolls.
const LARGER: &str = "<label class=\"larger\"><input type=\"checkbox\"> \
    larger</label>\n";

/// Says of each part whether it is the one that is spoken of, or comes later.
fn colour(svg: &str, part: u32) -> anyhow::Result<String> {
    let mut pieces = svg.split("class=\"part-");
    let mut coloured = pieces.next().unwrap_or_default().to_owned();
    let mut is_there = false;
    for piece in pieces {
        let (number, rest) = piece.split_once('"').context("no quote")?;
        let number: u32 = number.parse().context("class=\"part-NUMBER\"")?;
        is_there |= number == part;
        let class = match number.cmp(&part) {
            Ordering::Less => "",
            Ordering::Equal => " here",
            Ordering::Greater => " later",
        };
        coloured += &format!("class=\"part-{number}{class}\"{rest}");
    }
    ensure!(is_there, "there is no part {part}");
    Ok(coloured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_coloured_and_later_ones_are_faint() {
        let svg =
            r#"<g class="part-1"/><g class="part-2"/><g class="part-3"/>"#;
        assert_eq!(
            colour(svg, 2).unwrap(),
            r#"<g class="part-1"/><g class="part-2 here"/><g class="part-3 later"/>"#
        );
        assert!(colour(svg, 4).is_err());
    }
}
