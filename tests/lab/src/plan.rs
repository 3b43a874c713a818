//! What is to be checked on which programs.

use std::{path::PathBuf, sync::Mutex, thread};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    check::{Outcome, try_all},
    description::Check,
    sandbox,
};

/// A program, and what to check on it.
#[derive(Clone, Deserialize, Serialize)]
pub struct Job {
    /// The program.
    pub program: PathBuf,
    /// Which of its holes are the solution's: see
    /// [`Mixed`](crate::holes::Mixed).
    pub filled: String,
    /// What to check.
    pub checks: Vec<Check>,
}

/// Programs, and what to check on each: all that a machine needs to know which
/// has nothing but this and the grader.
#[derive(Deserialize, Serialize)]
pub struct Plan {
    /// In the order of what becomes of them.
    pub jobs: Vec<Job>,
}

/// So many programs are tried side by side: most of the time they wait.
const SIDE_BY_SIDE: usize = 2;

impl Plan {
    /// Runs all of it, here.
    ///
    /// # Errors
    /// Somebody wants it to end.
    pub fn run(&self) -> anyhow::Result<Vec<Vec<Outcome>>> {
        let next = Mutex::new(0..self.jobs.len());
        let found = Mutex::new(vec![None; self.jobs.len()]);
        let work = || {
            loop {
                let index = next.lock().map_or(None, |mut it| it.next());
                let Some(index) = index else { break };
                let outcomes = try_all(&self.jobs[index]);
                if let Ok(mut found) = found.lock() {
                    found[index] = Some(outcomes);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..SIDE_BY_SIDE.min(self.jobs.len()) {
                scope.spawn(work);
            }
        });
        ensure!(!sandbox::is_interrupted(), "interrupted");
        let found = found.into_inner().ok().context("a check has panicked")?;
        found
            .into_iter()
            .collect::<Option<_>>()
            .context("a check has no outcome")
    }
}
