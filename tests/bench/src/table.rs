//! A report as text: for a terminal, 100 columns wide, or in Markdown.

use std::fmt::Write as _;

use crate::{
    report::{Report, Row, Throughput},
    sequences::Comparison,
    statistics::Summary,
    throughput::AT_A_TIME,
};

/// How the cells of a table are put together.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Format {
    Terminal,
    Markdown,
}

/// The whole report.
pub(crate) fn of(report: &Report, format: Format) -> String {
    let mut text = String::new();
    machine(&mut text, report, format);
    if !report.rows.is_empty() {
        times(&mut text, report, format);
        isolation(&mut text, report, format);
    }
    if !report.throughput.is_empty() {
        throughput(&mut text, report, format);
    }
    if !report.layers.is_empty() {
        layers(&mut text, report, format);
    }
    for comparison in &report.comparisons {
        compared(&mut text, comparison, format);
    }
    left_out(&mut text, report);
    text
}

fn machine(text: &mut String, report: &Report, format: Format) {
    let machine = &report.machine;
    let _ = writeln!(
        text,
        "Linux {}, {} × {}, cgroup {}; as {}, in {}",
        machine.kernel,
        machine.processors,
        machine.processor,
        machine.cgroups,
        machine.user,
        machine.rootfs,
    );
    let versions: Vec<String> = machine
        .versions
        .iter()
        .map(|(tool, version)| format!("{tool} {version}"))
        .collect();
    if !versions.is_empty() {
        // In Markdown, the lines of a paragraph run together.
        let gap = match format {
            Format::Markdown => "\n",
            Format::Terminal => "",
        };
        let _ = writeln!(text, "{gap}{}", versions.join(", "));
    }
}

/// Start to exit. The ratios are of medians.
fn times(text: &mut String, report: &Report, format: Format) {
    let mut table = Table::new(
        "Start to exit in ms: back to back, and cold, after 100 ms of rest; \
         peak memory in MiB",
        [
            "", "median", "p95", "/limit", "/same", "cold", "p95", "/limit",
            "/same", "peak", "alone",
        ],
    );
    for row in &report.rows {
        let mut cells = vec![row.name.clone()];
        cells.extend(times_of(report, row, |row| row.burst));
        cells.extend(times_of(report, row, |row| row.cold));
        cells.push(row.peak_memory.map(mebibytes).unwrap_or_default());
        cells.push(row.supervisor_memory.map(mebibytes).unwrap_or_default());
        table.rows.push(cells);
    }
    table.write(text, format);
    text.push_str(
        "/limit: ratio of the medians to the limit's. /same: to the straight \
         program that makes the\nsame calls. peak: of the biggest process \
         that was waited for; alone: of the step's supervisor.\n",
    );
}

/// Median, p95, and the ratios to the limit and to the straight program.
fn times_of(
    report: &Report,
    row: &Row,
    pick: impl Fn(&Row) -> Option<Summary>,
) -> [String; 4] {
    let Some(summary) = pick(row) else {
        return Default::default();
    };
    let ratio = |other: Option<&Row>| {
        let other = other.and_then(&pick);
        other
            .map(|other| format!("{:.2}", summary.median / other.median))
            .unwrap_or_default()
    };
    [
        millis(summary.median),
        millis(summary.p95),
        ratio(report.limit()),
        ratio(report.straight(row)),
    ]
}

fn isolation(text: &mut String, report: &Report, format: Format) {
    let mut table = Table::new("What is isolated", ["", "isolates"]);
    for row in &report.rows {
        table
            .rows
            .push(vec![row.name.clone(), row.isolates.clone()]);
    }
    table.write(text, format);
}

fn throughput(text: &mut String, report: &Report, format: Format) {
    let mut heads = vec!["".to_owned()];
    heads.extend(AT_A_TIME.map(|number| format!("{number} at a time")));
    let mut table = Table::new("Containers a second", heads);
    for entry in &report.throughput {
        let mut cells = vec![entry.name.clone()];
        cells.extend(entry.per_second.iter().map(|it| format!("{it:.0}")));
        cells.extend(entry.failure.as_ref().map(|_| "failed".to_owned()));
        table.rows.push(cells);
    }
    table.write(text, format);
}

fn layers(text: &mut String, report: &Report, format: Format) {
    let mut heads = vec!["lower layers".to_owned()];
    let first = report.layers.first();
    for (name, _) in first.iter().flat_map(|entry| &entry.burst) {
        heads.push(name.clone());
        if name.starts_with("step") {
            heads.push("/same".to_owned());
        }
    }
    let mut table =
        Table::new("Overlay layers: start to exit, back to back, ms", heads);
    for entry in &report.layers {
        let mut cells = vec![entry.layers.to_string()];
        let mut straight = None;
        for (name, summary) in &entry.burst {
            let median = summary.map(|it| it.median);
            cells.push(median.map(millis).unwrap_or_default());
            if name.starts_with("step") {
                let ratio = median.zip(straight).map(|(a, b)| a / b);
                let ratio = ratio.map(|it| format!("{it:.2}"));
                cells.push(ratio.unwrap_or_default());
            }
            straight = median;
        }
        table.rows.push(cells);
    }
    table.write(text, format);
}

fn compared(text: &mut String, comparison: &Comparison, format: Format) {
    let heads = comparison.columns.iter().flat_map(|it| [it, "p95"]);
    let mut table =
        Table::new(&comparison.title, [""].into_iter().chain(heads));
    for (name, summaries) in &comparison.rows {
        let mut cells = vec![name.clone()];
        for summary in summaries {
            let cell = |pick: fn(&Summary) -> f64| {
                summary.as_ref().map(pick).map(millis).unwrap_or_default()
            };
            cells.extend([cell(|it| it.median), cell(|it| it.p95)]);
        }
        table.rows.push(cells);
    }
    table.write(text, format);
}

fn left_out(text: &mut String, report: &Report) {
    let failed: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| !row.failures.is_empty())
        .collect();
    let is_cut = |entry: &Throughput| entry.failure.is_some();
    if !failed.is_empty() || report.throughput.iter().any(is_cut) {
        text.push_str("\nRuns that failed, and are not counted:\n");
    }
    for row in failed {
        let (name, count) = (&row.name, row.failures.len());
        let _ = writeln!(text, "- {name}: {count}: {}", row.failures[0]);
    }
    for entry in &report.throughput {
        if let Some(failure) = &entry.failure {
            let _ = writeln!(text, "- {}, {failure}", entry.name);
        }
    }
    if !report.left_out.is_empty() {
        text.push_str("\nLeft out:\n");
    }
    for entry in &report.left_out {
        let _ = writeln!(text, "- {}: {}", entry.name, entry.reason);
    }
}

/// Cells in rows; the first column is a name, the others are mostly numbers.
pub(crate) struct Table {
    title: String,
    heads: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(
        title: &str,
        heads: impl IntoIterator<Item = impl Into<String>>,
    ) -> Table {
        Table {
            title: title.to_owned(),
            heads: heads.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn write(&self, text: &mut String, format: Format) {
        let _ = writeln!(text, "\n{}", self.title);
        match format {
            Format::Terminal => self.write_aligned(text),
            Format::Markdown => self.write_markdown(text),
        }
    }

    fn write_aligned(&self, text: &mut String) {
        let lines = || [&self.heads].into_iter().chain(&self.rows);
        let width = |column: usize| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let is_words = |column: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.any(|cell| cell.starts_with(char::is_alphabetic))
        };
        for line in lines() {
            let mut aligned = String::new();
            for (column, cell) in line.iter().enumerate() {
                let width = widths.get(column).copied().unwrap_or(0);
                // Words are read from the left, numbers from the right.
                let _ = match (column, self.heads.len()) {
                    (0, _) => write!(aligned, "{cell:width$}"),
                    (_, 2) => write!(aligned, "  {}", wrapped(cell, widths[0])),
                    _ if is_words(column) => write!(aligned, "  {cell:width$}"),
                    _ => write!(aligned, "  {cell:>width$}"),
                };
            }
            let _ = writeln!(text, "{}", aligned.trim_end());
        }
    }

    fn write_markdown(&self, text: &mut String) {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text.push('\n');
        text.push_str(&line(&self.heads));
        let rule = |column| match column {
            0 => "---".to_owned(),
            _ if self.heads.len() == 2 => "---".to_owned(),
            _ => "--:".to_owned(),
        };
        let rules: Vec<String> = (0..self.heads.len()).map(rule).collect();
        text.push_str(&line(&rules));
        for row in &self.rows {
            let mut cells = row.clone();
            cells.resize(self.heads.len(), String::new());
            text.push_str(&line(&cells));
        }
        text.push('\n');
    }
}

/// The text in lines that end before column 100, all but the first with a
/// margin as wide as the column of names.
fn wrapped(text: &str, names: usize) -> String {
    let margin = names + 2;
    let mut lines = String::new();
    let mut length = margin;
    for word in text.split(' ') {
        if length + word.len() >= 100 {
            let _ = write!(lines, "\n{:margin$}", "");
            length = margin;
        } else if !lines.is_empty() {
            lines.push(' ');
        }
        lines.push_str(word);
        length += word.len() + 1;
    }
    lines
}

fn millis(micros: f64) -> String {
    format!("{:.2}", micros / 1e3)
}

fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1}", kibibytes as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn a_table_fits_into_100_columns() {
        let text = of(&example(), Format::Terminal);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }

    #[test]
    fn a_ratio_is_that_of_the_medians() {
        let text = of(&example(), Format::Terminal);
        let step = text.lines().find(|line| line.starts_with("step 6"));
        let step = step.expect("the example has a step 6");
        let cells: Vec<&str> = step.split_whitespace().skip(2).collect();
        assert_eq!(cells[..4], ["3.00", "4.00", "1.50", "1.20"]);
    }

    #[test]
    fn every_row_of_markdown_has_all_cells() {
        let text = of(&example(), Format::Markdown);
        let mut bars = 0;
        for line in text.lines() {
            match line.matches('|').count() {
                0 => bars = 0,
                count if bars == 0 => bars = count,
                count => assert_eq!(count, bars, "{line}"),
            }
        }
    }
}
