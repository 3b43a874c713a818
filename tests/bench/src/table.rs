//! A report as text for a terminal, 100 columns wide.

use std::fmt::Write as _;

use crate::{
    report::{Report, Row},
    statistics::Summary,
};

/// The whole report.
pub(crate) fn of(report: &Report) -> String {
    let mut text = String::new();
    let machine = &report.machine;
    let _ = writeln!(
        text,
        "Linux {}, {} x {}, cgroup {}, as {}, {}",
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
    let _ = writeln!(text, "{}", versions.join(", "));
    text.push('\n');
    times(&mut text, report);
    text
}

fn times(text: &mut String, report: &Report) {
    let _ = writeln!(
        text,
        "{:18}{:^35}   {:^35}{:>8}\n{:18}{}   {}{:>8}",
        "start to exit",
        "back to back, ms",
        "after 100 ms of rest, ms",
        "peak",
        "",
        HEAD,
        HEAD,
        "MiB",
    );
    for row in &report.rows {
        let burst = columns(report, row, |row| row.burst);
        let cold = columns(report, row, |row| row.cold);
        let memory = row.peak_memory.map(mebibytes).unwrap_or_default();
        let name = &row.name;
        let _ = writeln!(text, "{name:18}{burst}   {cold}{memory:>8}");
    }
}

const HEAD: &str = " median     p95  / limit / straight";

/// Median, p95, and the ratios to the limit and to the straight program.
fn columns(
    report: &Report,
    row: &Row,
    pick: impl Fn(&Row) -> Option<Summary>,
) -> String {
    let Some(summary) = pick(row) else {
        return format!("{:35}", "");
    };
    let ratio = |other: Option<&Row>| {
        let other = other.and_then(&pick);
        other
            .map(|other| format!("{:.2}", summary.median / other.median))
            .unwrap_or_default()
    };
    format!(
        "{:>7}{:>8}{:>9}{:>11}",
        millis(summary.median),
        millis(summary.p95),
        ratio(report.limit()),
        ratio(report.straight(row)),
    )
}

fn millis(micros: f64) -> String {
    format!("{:.2}", micros / 1e3)
}

fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1}", kibibytes as f64 / 1024.0)
}
