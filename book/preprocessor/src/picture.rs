//! Pictures, put into the page itself, so that they take its colours.

use anyhow::ensure;

use crate::{Workspace, directive::Directive, html};

/// `{{#picture FILE "ALT" "CAPTION"}}`. Who can't see it gets `ALT`, so that may
/// not be empty.
pub(crate) fn show(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    directive.option("", &[])?;
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
    // An empty line would end the block of HTML.
    let lines = svg.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<&str> = lines.collect();
    let svg = lines.join("\n");
    Ok(format!(
        "<figure class=\"picture\">\n{svg}\n{caption}</figure>\n"
    ))
}
