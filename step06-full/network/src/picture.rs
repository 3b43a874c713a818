//! A picture of the networks of this machine: bridges, cables, addresses, ports.
//!
//! On the left what is the host's, on the right a box for each container: a line
//! is a cable, an arrow a published port.

use std::fmt::Write;

mod now;

pub use now::now;

/// What is drawn.
#[derive(Debug, Default)]
pub struct Picture {
    /// Bridges: a name, and the host's address on it.
    pub bridges: Vec<(String, String)>,
    /// From above.
    pub containers: Vec<Container>,
}

/// A container.
#[derive(Debug, Default)]
pub struct Container {
    /// What it is called.
    pub name: String,
    /// Bridges that it has a cable to, by their number in the list, and its
    /// address there.
    pub cables: Vec<(usize, String)>,
    /// The host's ports that lead to it.
    pub ports: Vec<String>,
}

/// The colours and letters of the book, which gives its own to a picture on one
/// of its pages.
const STYLE: &str = "svg{font:15px sans-serif;fill:#222;background:#fff}\
    .box{fill:none;stroke:#888;stroke-width:1.5}.host{stroke:#3572c6}\
    .inside{stroke:#2f8f4e}.layer{fill:none;stroke:#888}\
    .title{font-weight:bold}.small{font-size:13px}\
    .code{font:13px monospace}.centre{text-anchor:middle}\
    .line,.arrow{fill:none;stroke:#888;stroke-width:1.5}\
    .arrow{marker-end:url(#arrowhead)}.arrowhead{fill:#888}";

const MARKER: &str = "<defs>\n    <marker id=\"arrowhead\" \
    viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" \
    markerHeight=\"7\" orient=\"auto-start-reverse\"><path \
    class=\"arrowhead\" d=\"M0 0 L10 5 L0 10 z\"/></marker>\n  </defs>";

// Everything is in lines of this height, below a title.
const LINE: usize = 24;
const TOP: usize = 44;

impl Container {
    /// Its name, and a line for each address and each port.
    fn lines(&self) -> usize {
        1 + self.cables.len() + self.ports.len()
    }
}

impl Picture {
    /// The picture as SVG: one that stands alone, with colours of its own, or one
    /// for a page that has them.
    #[must_use]
    pub fn svg(&self, stands_alone: bool) -> String {
        let mut body = String::new();
        let mut top = TOP + LINE;
        let mut cables = vec![Vec::new(); self.bridges.len()];
        for container in &self.containers {
            body += &container.draw(top, &mut cables);
            top += (container.lines() + 1) * LINE;
        }
        let bridges = TOP + LINE + self.bridges.len() * 4 * LINE;
        let bottom = top.max(bridges);
        for (number, (name, address)) in self.bridges.iter().enumerate() {
            let top = TOP + LINE + number * 4 * LINE;
            let lane = 186 + number % 4 * 6;
            body += &draw_bridge(top, lane, name, address, &cables[number]);
        }
        let height = bottom + LINE / 2;
        let frame = bottom - TOP;
        let style = match stands_alone {
            true => format!("  <style>{STYLE}</style>\n"),
            false => String::new(),
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" \
             viewBox=\"0 0 640 {height}\">\n{style}  {MARKER}\n  \
             <text class=\"title\" x=\"8\" y=\"26\">this machine</text>\n  \
             <text class=\"title\" x=\"440\" y=\"26\">containers</text>\n  \
             <rect class=\"layer\" x=\"8\" y=\"{TOP}\" width=\"392\" \
             height=\"{frame}\" rx=\"6\"/>\n{body}</svg>\n"
        )
    }
}

impl Container {
    /// Its box, and what leads to it. Where its cables end is added to those of
    /// their bridges.
    fn draw(&self, top: usize, cables: &mut [Vec<usize>]) -> String {
        let mut text = rect("box inside", 440, top, 192, self.lines() * LINE);
        let mut line = top + LINE / 2 + 5;
        text += &title(&self.name, 536, line);
        for (bridge, address) in &self.cables {
            line += LINE;
            text += &label("code centre", 536, line, address);
            if let Some(ends) = cables.get_mut(*bridge) {
                ends.push(line - 5);
            }
        }
        for port in &self.ports {
            line += LINE;
            text += &label("code centre", 536, line, "published");
            text += &rect("box host", 210, line - 17, 178, LINE - 4);
            text += &label("code centre", 299, line - 2, port);
            text += &path("arrow", &format!("M388 {0}H438", line - 7));
        }
        text
    }
}

/// A bridge, and its cables to these heights.
///
/// Each bridge has its own way down, at `lane`.
fn draw_bridge(
    top: usize,
    lane: usize,
    name: &str,
    address: &str,
    cables: &[usize],
) -> String {
    let mut text = rect("box host", 20, top, 160, 2 * LINE);
    text += &label("centre", 100, top + 20, name);
    text += &label("code centre", 100, top + 39, address);
    for end in cables {
        let start = top + LINE;
        text += &path("line", &format!("M180 {start}H{lane}V{end}H440"));
    }
    text
}

fn rect(class: &str, x: usize, y: usize, w: usize, h: usize) -> String {
    format!(
        "  <rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" \
         height=\"{h}\" rx=\"4\"/>\n"
    )
}

fn path(class: &str, d: &str) -> String {
    format!("  <path class=\"{class}\" d=\"{d}\"/>\n")
}

/// How many letters of a name there is room for, and how many of an address.
const ROOM: usize = 22;

/// A name in its box, as much as there is room for; the mouse shows all of it.
fn title(name: &str, x: usize, y: usize) -> String {
    if name.chars().count() <= ROOM {
        return label("centre", x, y, name);
    }
    let short: String = name.chars().take(ROOM - 1).collect();
    let shown = label("centre", x, y, &format!("{short}…"));
    format!("  <g><title>{}</title>\n{shown}  </g>\n", escape(name))
}

fn label(class: &str, x: usize, y: usize, text: &str) -> String {
    // Nothing of an address can be left out: it is made narrower.
    let fit = match text.chars().count() > ROOM {
        true => " textLength=\"170\" lengthAdjust=\"spacingAndGlyphs\"",
        false => "",
    };
    let text = escape(text);
    format!(
        "  <text class=\"{class}\" x=\"{x}\" y=\"{y}\"{fit}>{text}</text>\n"
    )
}

/// Names come from others: here they are text and nothing else.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        let _ = match letter {
            '<' | '>' | '&' | '"' | '\'' => {
                write!(escaped, "&#{};", u32::from(letter))
            }
            _ if letter.is_control() => write!(escaped, "\u{fffd}"),
            _ => write!(escaped, "{letter}"),
        };
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_named_is_text() {
        let picture = Picture {
            bridges: vec![("box0".into(), "10.88.77.1".into())],
            containers: vec![Container {
                name: "</text><script>\n\"".into(),
                cables: vec![(0, "10.88.77.2".into()), (7, "?".into())],
                ports: vec!["127.0.0.1:8080".into()],
            }],
        };
        let svg = picture.svg(false);
        assert!(!svg.contains("<script>"), "{svg}");
        for text in ["box0", "10.88.77.2", "127.0.0.1:8080", "&#60;script"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(picture.svg(true).contains("<style>"));
    }

    #[test]
    fn what_is_long_stays_in_its_box() {
        let name = "a-name-as-long-as-host-names-may-be";
        let port = "[fd50:1234:5678:9abc::1]:8080";
        let picture = Picture {
            bridges: vec![],
            containers: vec![Container {
                name: name.into(),
                cables: vec![],
                ports: vec![port.into()],
            }],
        };
        let svg = picture.svg(false);
        assert!(svg.contains(&format!("<title>{name}</title>")), "{svg}");
        assert!(svg.contains(">a-name-as-long-as-hos…</text>"), "{svg}");
        let narrow = "textLength=\"170\" lengthAdjust=\"spacingAndGlyphs\">";
        assert!(svg.contains(&format!("{narrow}{port}</text>")), "{svg}");
    }
}
