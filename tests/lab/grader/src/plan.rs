//! What is to be checked on which programs.

use std::path::PathBuf;

use lab::{
    check::{Outcome, try_all, values},
    description::Check,
};
use serde::{Deserialize, Serialize};

/// So many programs of a plan may have no end.
const PROGRAMS: usize = 3;

/// Programs, and what to check on each: all that a machine needs to know which
/// has nothing but this and the grader.
#[derive(Deserialize, Serialize)]
pub(crate) struct Plan {
    pub(crate) student: String,
    pub(crate) jobs: Vec<(PathBuf, Vec<Check>)>,
}

impl Plan {
    /// Runs all of it, here.
    ///
    /// Where many programs have no end, the reason is in what they have in
    /// common, and the others are not waited for.
    pub(crate) fn run(&self) -> Vec<Vec<Outcome>> {
        let values = values(&self.student);
        let mut ended = 0;
        let mut run = |(program, checks): &(PathBuf, Vec<Check>)| {
            if ended == PROGRAMS {
                let outcome = Outcome::failed(
                    "not tried: what has no end is outside of the holes\n",
                );
                return vec![outcome; checks.len()];
            }
            let outcomes: Vec<_> = try_all(program, checks, &values).collect();
            ended += usize::from(outcomes.iter().any(|it| it.took_too_long));
            outcomes
        };
        self.jobs.iter().map(&mut run).collect()
    }
}
