//! Commands that belong together, one after the other, each with a time of its
//! own: to make a container that stays, to enter it, to remove it.

use std::{ffi::OsString, time::Duration};

use anyhow::bail;
use ground::Random;
use serde::{Deserialize, Serialize};

use crate::{
    measure::{self, Outcome, check_interrupted, command},
    report::LeftOut,
    statistics::Summary,
    subjects::MARK,
};

/// What one tool is told in a round.
pub(crate) struct Sequence {
    pub(crate) name: String,
    /// In their order; those without a title are not timed.
    pub(crate) commands: Vec<(Option<&'static str>, Vec<OsString>)>,
}

/// What several tools take for the same.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    pub(crate) title: String,
    /// What is timed.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<(String, Vec<Option<Summary>>)>,
}

/// Goes through each of the `sequences` `rounds` times, by turns. One that fails
/// is put down in `left_out`, and has no further turn.
pub(crate) fn compare(
    title: &str,
    sequences: &[Sequence],
    rounds: usize,
    left_out: &mut Vec<LeftOut>,
) -> anyhow::Result<Comparison> {
    let mut random = Random::new(measure::SEED);
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    let mut columns: Vec<&str> = Vec::new();
    for title in sequences.iter().flat_map(Sequence::timed) {
        if !columns.contains(&title) {
            columns.push(title);
        }
    }
    let mut times = vec![vec![Vec::new(); columns.len()]; sequences.len()];
    for round in 0..=rounds {
        measure::shuffle(&mut order, &mut random);
        order.retain(|&index| {
            let (sequence, times) = (&sequences[index], &mut times[index]);
            let note = |title: &str, time| {
                // In the first round, files are read for the first time.
                if let Some(at) = columns.iter().position(|it| *it == title)
                    && round > 0
                {
                    times[at].push(time);
                }
            };
            let done = sequence.run(round, note);
            if let Err(error) = &done {
                left_out.push(LeftOut {
                    name: sequence.name.clone(),
                    reason: format!("{error:#}"),
                });
            }
            done.is_ok()
        });
        check_interrupted()?;
    }
    let rows = order_of(&order).map(|index| {
        let summaries = times[index].iter().map(|it| Summary::of(it));
        (sequences[index].name.clone(), summaries.collect())
    });
    Ok(Comparison {
        title: title.to_owned(),
        rows: rows.collect(),
        columns: columns.into_iter().map(str::to_owned).collect(),
    })
}

/// Those that are left, as they were given.
fn order_of(left: &[usize]) -> impl Iterator<Item = usize> {
    let mut left = left.to_vec();
    left.sort_unstable();
    left.into_iter()
}

impl Sequence {
    fn timed(&self) -> impl Iterator<Item = &'static str> {
        self.commands.iter().filter_map(|(title, _)| *title)
    }

    /// Runs all of it, also when something fails: what was made is removed. The
    /// first failure is returned.
    fn run(
        &self,
        round: usize,
        mut note: impl FnMut(&str, Duration),
    ) -> anyhow::Result<()> {
        let mut result = Ok(());
        for (title, line) in &self.commands {
            let line: Vec<OsString> =
                line.iter().map(|it| with_round(it, round)).collect();
            let time = match measure::run(&mut command(&line)?)? {
                Outcome::Done(time) => time,
                Outcome::Failed(reason) if result.is_ok() => {
                    let line: Vec<_> =
                        line.iter().map(|it| it.to_string_lossy()).collect();
                    result = fail(&line.join(" "), &reason);
                    continue;
                }
                Outcome::Failed(_) => continue,
            };
            if let Some(title) = title {
                note(title, time);
            }
        }
        result
    }
}

fn fail(line: &str, reason: &str) -> anyhow::Result<()> {
    bail!("{line}: {reason}")
}

/// Stands for a name that is the same in all commands of one round.
pub(crate) const NAME: &str = "{name}";

fn with_round(argument: &OsString, round: usize) -> OsString {
    let name = format!("{MARK}-{}-{round}", std::process::id());
    match argument.to_str() {
        Some(text) => text.replace(NAME, &name).into(),
        None => argument.clone(),
    }
}
