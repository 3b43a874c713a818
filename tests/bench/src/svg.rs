//! The chart: two bars for each subject, on a logarithmic axis.
//!
//! It is included in web pages with a light or a dark background, and shrinks
//! to the width of a telephone. So text takes the colour of the text around it
//! (`currentColor`), and the colours of the bars differ enough from white and
//! from black.

use std::fmt::Write as _;

use crate::{
    report::{Report, Row},
    subjects::Kind,
};

/// Units of the viewBox. At this width a letter of the size below can still be
/// read on 390 pixels.
const WIDTH: f64 = 440.0;
const FONT: f64 = 12.0;
/// Where the axis begins: to the left of it are the names.
const LEFT: f64 = 118.0;
/// To the right of the longest bar is its number.
const RIGHT: f64 = WIDTH - 46.0;
const TOP: f64 = 44.0;
const BAR: f64 = 11.0;
const ROW: f64 = 2.0 * BAR + 9.0;

/// Blue and orange, told apart also by those who don't see red and green; both
/// more than 3:1 against white and against black.
const BURST: &str = "#2b7bba";
const COLD: &str = "#c2620e";

/// Draws the rows that readers compare: all but the straight programs.
pub(crate) fn of(report: &Report) -> String {
    let rows: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| !matches!(row.kind, Kind::Straight(_) | Kind::InCalls))
        .collect();
    let axis = Axis::of(&rows);
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 34.0;

    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="speed-title speed-desc" style="width:100%;max-width:44em;height:auto" font-family="sans-serif" font-size="{FONT}" fill="currentColor">
<title id="speed-title">Start to exit of a container, in milliseconds</title>
<desc id="speed-desc">{}</desc>
"#,
        escape(&description(&rows)),
    );
    legend(&mut svg);
    for tick in axis.ticks() {
        let x = axis.place(tick);
        let _ = writeln!(
            svg,
            r#"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="currentColor" stroke-opacity="0.25"/>
<text x="{x:.1}" y="{:.1}" text-anchor="middle">{tick}</text>"#,
            bottom + 14.0,
        );
    }
    let _ = writeln!(
        svg,
        r#"<text x="{LEFT}" y="{:.1}">milliseconds; the axis is logarithmic</text>"#,
        bottom + 29.0,
    );
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + ROW * index as f64 + 5.0;
        let bold = match row.kind {
            Kind::Step(_) => r#" font-weight="bold""#,
            _ => "",
        };
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end"{bold}>{}</text>"#,
            LEFT - 6.0,
            y + BAR + 4.0,
            escape(&row.name),
        );
        for (summary, colour, y) in
            [(row.burst, BURST, y), (row.cold, COLD, y + BAR)]
        {
            let Some(summary) = summary else { continue };
            let end = axis.place(summary.median / 1e3);
            let _ = writeln!(
                svg,
                r#"<rect x="{LEFT}" y="{y:.1}" width="{:.1}" height="{BAR}" fill="{colour}"/>
<text x="{:.1}" y="{:.1}" font-size="10">{}</text>"#,
                end - LEFT,
                end + 4.0,
                y + BAR - 1.8,
                digits(summary.median / 1e3),
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String) {
    for (y, colour, text) in [
        (8.0, BURST, "one after the other"),
        (24.0, COLD, "each after 100 ms of rest"),
    ] {
        let _ = writeln!(
            svg,
            r#"<rect x="{LEFT}" y="{y}" width="16" height="{BAR}" fill="{colour}"/>
<text x="{:.1}" y="{:.1}">{text}</text>"#,
            LEFT + 22.0,
            y + BAR,
        );
    }
}

/// The same in words, for those who do not see it.
fn description(rows: &[&Row]) -> String {
    let mut text = String::from(
        "Medians, one after the other and after 100 milliseconds of rest. ",
    );
    for row in rows {
        if let (Some(burst), Some(cold)) = (row.burst, row.cold) {
            let _ = write!(
                text,
                "{}: {} and {}. ",
                row.name,
                digits(burst.median / 1e3),
                digits(cold.median / 1e3),
            );
        }
    }
    text.trim_end().to_owned()
}

/// A logarithmic axis in milliseconds.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    fn of(rows: &[&Row]) -> Axis {
        let medians = rows
            .iter()
            .flat_map(|row| [row.burst, row.cold])
            .flatten()
            .map(|summary| summary.median / 1e3);
        let (smallest, biggest) = medians
            .fold((f64::MAX, f64::MIN), |(a, b), it| (a.min(it), b.max(it)));
        if smallest > biggest {
            return Axis { from: 0.1, to: 1.0 };
        }
        // Bars of a length that can be seen, also the shortest.
        Axis {
            from: smallest / 2.0,
            to: biggest.max(smallest * 2.0),
        }
    }

    fn place(&self, millis: f64) -> f64 {
        let part = (millis / self.from).ln() / (self.to / self.from).ln();
        LEFT + part * (RIGHT - LEFT)
    }

    /// 1, 2 and 5, and their tenfolds, as far as they are on the axis.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0];
        let more = [100.0, 200.0, 500.0, 1000.0, 2000.0];
        let (from, to) = (self.from, self.to);
        let all = steps.into_iter().chain(more);
        all.filter(move |tick| (from..=to).contains(tick))
    }
}

/// Three digits, which is more than the measurement is good for.
fn digits(millis: f64) -> String {
    match millis {
        ..10.0 => format!("{millis:.2}"),
        ..100.0 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    /// Each element is closed, in the right order, and no text has an angle
    /// bracket or an ampersand of its own.
    fn assert_well_formed(svg: &str) {
        let mut open: Vec<&str> = Vec::new();
        for piece in svg.split('<').skip(1) {
            let (tag, text) = piece.split_once('>').expect("a closed tag");
            assert!(!text.contains('>'), "{text}");
            for entity in text.split('&').skip(1) {
                assert!(
                    entity.split(';').next().is_some_and(|it| {
                        ["amp", "lt", "gt"].contains(&it)
                    })
                );
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name = tag.split([' ', '/']).next().unwrap_or_default();
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_chart_is_well_formed() {
        let mut report = example();
        report.rows[0].name = "a < b & c".to_owned();
        let svg = of(&report);
        assert_well_formed(&svg);
        assert!(svg.contains("a &lt; b &amp; c"));
    }

    #[test]
    fn a_chart_of_nothing_is_well_formed() {
        let mut report = example();
        report.rows.clear();
        assert_well_formed(&of(&report));
    }

    #[test]
    fn twice_the_time_is_the_same_distance_everywhere() {
        let axis = Axis {
            from: 1.0,
            to: 64.0,
        };
        let distance = |a, b| axis.place(b) - axis.place(a);
        assert!((distance(1.0, 2.0) - distance(16.0, 32.0)).abs() < 1e-9);
        assert!((axis.place(64.0) - RIGHT).abs() < 1e-9);
    }
}
