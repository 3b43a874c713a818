//! What a benchmark has found, as it is stored.

use std::{fs, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{
    machine::Machine, sequences::Comparison, statistics::Summary,
    subjects::Kind,
};

/// All results of one benchmark.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) throughput: Vec<Throughput>,
    pub(crate) layers: Vec<Layers>,
    /// Of engines.
    pub(crate) comparisons: Vec<Comparison>,
}

/// Start to exit of one subject.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) isolates: String,
    pub(crate) burst: Option<Summary>,
    pub(crate) cold: Option<Summary>,
    /// In KiB, of the biggest process that was waited for.
    pub(crate) peak_memory: Option<u64>,
    /// In KiB, of a step's supervisor alone.
    pub(crate) supervisor_memory: Option<u64>,
    /// Why runs failed, one text for each that did: they are no samples.
    pub(crate) failures: Vec<String>,
}

/// A subject that is not measured.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// How many containers a second, by how many at a time.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Throughput {
    pub(crate) name: String,
    /// In the order of [`crate::throughput::AT_A_TIME`].
    pub(crate) per_second: Vec<f64>,
    /// Why it ends there.
    pub(crate) failure: Option<String>,
}

/// Start to exit with so many overlay layers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Layers {
    pub(crate) layers: usize,
    /// By the name of the subject.
    pub(crate) burst: Vec<(String, Option<Summary>)>,
}

impl Report {
    /// The row that a row is compared with: the limit's.
    pub(crate) fn limit(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == Kind::Limit)
    }

    /// The row of the straight program that makes the same calls as `row`.
    pub(crate) fn straight(&self, row: &Row) -> Option<&Row> {
        let (Kind::Step(number) | Kind::Before(number)) = row.kind else {
            return None;
        };
        let kind = Kind::Straight(number);
        self.rows.iter().find(|row| row.kind == kind)
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<Report> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("open({path:?}, O_RDONLY)"))?;
        serde_json::from_str(&text).with_context(|| format!("in {path:?}"))
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)
            .context("a report has only strings as keys")?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("writing {path:?}"))
    }
}

/// A report with something of everything.
#[cfg(test)]
pub(crate) fn example() -> Report {
    let summary = |median| {
        let p95 = median + 1000.0;
        let runs = 100;
        Some(Summary { runs, median, p95 })
    };
    let row = |name: &str, kind, median| Row {
        name: name.to_owned(),
        kind,
        isolates: "everything that there is to isolate; ".repeat(3),
        burst: summary(median),
        cold: summary(2.0 * median),
        peak_memory: Some(1234),
        supervisor_memory: None,
        failures: Vec::new(),
    };
    let mut report = Report {
        machine: Machine {
            kernel: "6.18.0".to_owned(),
            processors: 2,
            processor: "example".to_owned(),
            cgroups: "version 1".to_owned(),
            user: "root".to_owned(),
            rootfs: "static BusyBox".to_owned(),
            versions: vec![("crun".to_owned(), "1.8.1".to_owned())],
        },
        rows: vec![
            row("fork + exec", Kind::Floor, 500.0),
            row("the limit", Kind::Limit, 2000.0),
            row("straight 6", Kind::Straight(6), 2500.0),
            row("step 6", Kind::Step(6), 3000.0),
            row("crun", Kind::Peer, 123_456.0),
        ],
        left_out: vec![LeftOut {
            name: "docker".to_owned(),
            reason: "not installed".to_owned(),
        }],
        throughput: vec![Throughput {
            name: "the limit".to_owned(),
            per_second: vec![466.0, 766.0, 846.0],
            failure: None,
        }],
        layers: vec![Layers {
            layers: 500,
            burst: vec![
                ("straight 5".to_owned(), summary(4000.0)),
                ("step 5".to_owned(), summary(5000.0)),
            ],
        }],
        comparisons: vec![Comparison {
            title: "A container that stays, ms".to_owned(),
            columns: vec!["run -d".to_owned(), "exec".to_owned()],
            rows: vec![("box".to_owned(), vec![summary(9000.0), None])],
        }],
    };
    report.rows[4].failures.push("exit code 1".to_owned());
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_can_be_read_again() {
        let report = example();
        let file = tempfile::NamedTempFile::new().expect("a file");
        report.write(file.path()).expect("it can be written");
        let read = Report::read(file.path()).expect("it can be read");
        assert_eq!(read, report);
    }
}
