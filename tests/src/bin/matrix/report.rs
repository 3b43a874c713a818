//! What came out: a table of tests and rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    process::ExitStatus,
    time::Duration,
};

use harness::needs::NEVER;

use crate::rows::Row;

/// The end of a row.
pub(crate) enum Outcome {
    /// This machine can't run it, for this reason.
    LeftOut(String),
    Ran(Run),
}

/// A run of the suite.
pub(crate) struct Run {
    pub(crate) status: ExitStatus,
    pub(crate) results: BTreeMap<String, TestResult>,
    pub(crate) time: Duration,
    /// All that it has printed, and the file in which it is kept.
    pub(crate) output: String,
    pub(crate) log: PathBuf,
}

#[derive(Clone, PartialEq)]
pub(crate) enum TestResult {
    Passed,
    Failed,
    /// With the reason.
    Skipped(String),
}

/// Finds the results in the output of the suite. A line is
/// `test NAME ... ok`, `FAILED`, or `ignored (REASON)`.
pub(crate) fn parse(output: &str) -> BTreeMap<String, TestResult> {
    let results = output.lines().filter_map(|line| {
        let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let result = match result {
            "ok" => TestResult::Passed,
            "FAILED" => TestResult::Failed,
            _ => {
                let reason = result.strip_prefix("ignored (")?;
                TestResult::Skipped(reason.strip_suffix(')')?.to_owned())
            }
        };
        Some((name.trim_end().to_owned(), result))
    });
    results.collect()
}

impl Run {
    fn count(&self, is_counted: impl Fn(&TestResult) -> bool) -> usize {
        self.results.values().filter(|it| is_counted(it)).count()
    }

    fn passed(&self) -> usize {
        self.count(|it| *it == TestResult::Passed)
    }

    fn failed(&self) -> usize {
        self.count(|it| *it == TestResult::Failed)
    }

    /// What the suite says about its failures; if it did not come that far, its
    /// last lines.
    fn failures(&self) -> &str {
        let at = self
            .output
            .find("\nfailures:\n")
            .or_else(|| Some(self.output.rmatch_indices('\n').nth(20)?.0));
        &self.output[at.unwrap_or(0)..]
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::LeftOut(reason) => write!(f, "left out: {reason}"),
            Outcome::Ran(run) => {
                let (passed, failed) = (run.passed(), run.failed());
                let skipped = run.results.len() - passed - failed;
                let seconds = run.time.as_secs_f64();
                write!(
                    f,
                    "{passed:4} ran {skipped:4} skipped {failed:4} failed \
                     {seconds:7.1} s"
                )?;
                if !run.status.success() {
                    write!(f, "   {}: {}", run.status, run.log.display())?;
                }
                Ok(())
            }
        }
    }
}

/// All rows that were to be run.
pub(crate) struct Report {
    /// The names of all tests, in the order of the suite.
    pub(crate) tests: Vec<String>,
    pub(crate) outcomes: Vec<(&'static Row, Outcome)>,
    /// Whether nobody has picked rows by name.
    pub(crate) is_complete: bool,
}

impl Report {
    /// Whether each row is good, and together they ran each test.
    pub(crate) fn is_good(&self, all_rows: bool) -> bool {
        let is_good = |row: &Row, outcome: &Outcome| match outcome {
            Outcome::LeftOut(_) => !all_rows,
            Outcome::Ran(run) => {
                let mut tests = self.tests.iter().filter(|it| row.is_for(it));
                let has_result = |test| run.results.contains_key(test);
                run.status.success() && tests.all(has_result)
            }
        };
        self.outcomes
            .iter()
            .all(|(row, outcome)| is_good(row, outcome))
            && (self.rows_are_missing() || self.run_nowhere().is_empty())
    }

    fn rows_are_missing(&self) -> bool {
        let is_left_out = |outcome| matches!(outcome, &Outcome::LeftOut(_));
        !self.is_complete || self.outcomes.iter().any(|(_, it)| is_left_out(it))
    }

    /// The tests that were skipped on each row, though they are meant to be run.
    fn run_nowhere(&self) -> Vec<&str> {
        let is_skipped = |result: &TestResult| match result {
            TestResult::Skipped(reason) => !reason.starts_with(NEVER),
            _ => false,
        };
        let runs = |test: &str| {
            self.runs().any(|run| {
                let result = run.results.get(test);
                result.is_some_and(|it| !is_skipped(it))
            })
        };
        let tests = self.tests.iter().map(String::as_str);
        tests.filter(|test| !runs(test)).collect()
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.outcomes
            .iter()
            .filter_map(|(_, outcome)| match outcome {
                Outcome::LeftOut(_) => None,
                Outcome::Ran(run) => Some(run),
            })
    }

    /// Why tests were skipped, and the letter that stands for it in the table.
    fn reasons(&self) -> BTreeMap<&str, char> {
        let results = self.runs().flat_map(|run| run.results.values());
        let reasons: BTreeSet<&str> = results
            .filter_map(|result| match result {
                TestResult::Skipped(reason) => Some(reason.as_str()),
                _ => None,
            })
            .collect();
        reasons.into_iter().zip('a'..).collect()
    }
}

impl fmt::Display for Report {
    /// One line a test, with a column for each row; then the rows, by number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = self.reasons();
        let width = self.tests.iter().map(String::len).max().unwrap_or(0);
        write!(f, "\n{:width$}", "")?;
        for number in 1..=self.outcomes.len() {
            write!(f, " {number:>4}")?;
        }
        writeln!(f)?;
        for test in &self.tests {
            write!(f, "{test:width$}")?;
            for (row, outcome) in &self.outcomes {
                let cell = match outcome {
                    Outcome::LeftOut(_) => "-".to_owned(),
                    Outcome::Ran(run) => match run.results.get(test) {
                        None if !row.is_for(test) => String::new(),
                        None => "?".to_owned(),
                        Some(TestResult::Passed) => "ran".to_owned(),
                        Some(TestResult::Failed) => "FAIL".to_owned(),
                        Some(TestResult::Skipped(reason)) => {
                            reasons[reason.as_str()].to_string()
                        }
                    },
                };
                write!(f, " {cell:>4}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\nSkipped:")?;
        for (reason, letter) in reasons {
            writeln!(f, "{letter:>4} {reason}")?;
        }
        writeln!(f, "\nRows:")?;
        for (index, (row, outcome)) in self.outcomes.iter().enumerate() {
            writeln!(f, "{:>4} {:16}{outcome}", index + 1, row.name)?;
        }
        for (row, outcome) in &self.outcomes {
            if let Outcome::Ran(run) = outcome
                && !run.status.success()
            {
                writeln!(f, "\n== {}:\n{}", row.name, run.failures())?;
            }
        }
        let run_nowhere = self.run_nowhere();
        if !run_nowhere.is_empty() {
            let which = match self.rows_are_missing() {
                true => "Not run by these rows",
                false => "Run by no row",
            };
            writeln!(f, "\n{which}: {}", run_nowhere.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::rows::ROWS;

    const ROOT: &str = "
running 3 tests
test uts::a_claim   ... ok
test uts::another   ... ignored (needs a plain user)
test mount::a_third ... FAILED
";

    fn ran(status: i32, output: &str) -> Outcome {
        Outcome::Ran(Run {
            status: ExitStatus::from_raw(status << 8),
            results: parse(output),
            time: Duration::ZERO,
            output: output.to_owned(),
            log: PathBuf::new(),
        })
    }

    /// A report of two tests, on as many rows as there are outcomes.
    fn report(outcomes: impl IntoIterator<Item = Outcome>) -> Report {
        Report {
            tests: vec!["one".into(), "two".into()],
            outcomes: ROWS.iter().zip(outcomes).collect(),
            is_complete: true,
        }
    }

    #[test]
    fn the_lines_of_the_suite_are_understood() {
        let reason = "needs a plain user".to_owned();
        let expected = [
            ("mount::a_third".to_owned(), TestResult::Failed),
            ("uts::a_claim".to_owned(), TestResult::Passed),
            ("uts::another".to_owned(), TestResult::Skipped(reason)),
        ];
        assert!(parse(ROOT) == BTreeMap::from(expected));
    }

    #[test]
    fn what_one_row_skips_another_one_must_run() {
        let one = "test one ... ok\ntest two ... ignored (a)\n";
        let two = "test one ... ignored (b)\ntest two ... ok\n";
        assert!(report([ran(0, one), ran(0, two)]).is_good(true));
        let report = report([ran(0, one), ran(0, one)]);
        assert!(!report.is_good(false));
        assert!(report.to_string().ends_with("Run by no row: two\n"));
    }

    #[test]
    fn what_is_never_run_need_not_run_on_any_row() {
        let never = "test one ... ok\ntest two ... ignored (never: a)\n";
        assert!(report([ran(0, never), ran(0, never)]).is_good(true));
    }

    #[test]
    fn a_row_that_is_left_out_is_good_unless_all_are_wanted() {
        let one = "test one ... ok\ntest two ... ignored (a)\n";
        let report = report([ran(0, one), Outcome::LeftOut("no QEMU".into())]);
        assert!(report.is_good(false));
        assert!(!report.is_good(true));
        assert!(report.to_string().contains("left out: no QEMU"));
    }

    #[test]
    fn a_row_that_fails_or_ends_early_is_not_good() {
        let both = "test one ... ok\ntest two ... ok\n";
        assert!(report([ran(0, both)]).is_good(true));
        assert!(!report([ran(125, both)]).is_good(true));
        assert!(!report([ran(0, "test one ... ok\n")]).is_good(true));
    }
}
