//! How a program with holes is judged, by `check` as by `grade`.
//!
//! A hole is right if all of its checks are passed by the whole program, or by
//! the solution with nothing but this one hole as the student has filled it. So
//! an empty hole costs its own points and no others, although a program with a
//! hole in it hardly gets anywhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{
    build::TookTooLong,
    check::{Outcome, Verdict},
    description::{Check, Lab, Sources},
    holes,
    plan::Job,
};

/// What builds sources, and what runs the checks.
pub trait Tools {
    /// Builds the step with these sources, and returns the program. Of one that
    /// has the solution in it nobody must read what the compiler says.
    ///
    /// # Errors
    /// It does not compile.
    fn build(&self, sources: &Sources) -> anyhow::Result<PathBuf>;

    /// Runs checks on programs.
    ///
    /// # Errors
    /// Nothing can be run.
    fn run(&self, jobs: Vec<Job>) -> anyhow::Result<Vec<Vec<Outcome>>>;
}

/// What was found.
pub struct Judgement {
    /// What became of each check of the lab, in its order.
    pub outcomes: Vec<Outcome>,
    /// Why the whole program does not compile.
    pub does_not_compile: Option<String>,
}

/// Judges what a student has filled in. Programs are kept in `place` meanwhile.
///
/// # Errors
/// Nothing can be run.
pub fn judge(
    lab: &Lab,
    students: &Sources,
    solution: &Sources,
    tools: &dyn Tools,
    place: &Path,
) -> anyhow::Result<Judgement> {
    let workplace = Workplace {
        lab,
        students,
        solution,
        tools,
        place,
    };
    let (mut outcomes, does_not_compile) = workplace.whole()?;
    let failed: BTreeSet<&str> = lab
        .checks
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.verdict == Verdict::Failed)
        .map(|(check, _)| check.hole.as_str())
        .collect();
    let (names, found): (Vec<&str>, Vec<Alone>) =
        workplace.alone(&failed)?.into_iter().unzip();
    for (name, alone) in names.into_iter().zip(found) {
        let own = lab.checks.iter().zip(&mut outcomes);
        let own = own.filter(|(check, _)| check.hole == name);
        match alone {
            // Nothing is known but what the whole program has shown.
            Alone::CantTell(why) => {
                for (_, outcome) in own {
                    outcome.says += &format!("\n{why}");
                }
            }
            Alone::Found(found) => {
                for ((_, outcome), alone) in own.zip(found) {
                    *outcome = alone;
                }
            }
        }
    }
    Ok(Judgement {
        outcomes,
        does_not_compile,
    })
}

/// What became of a hole alone.
enum Alone {
    /// It can't be told apart from the others.
    CantTell(String),
    /// What became of each of its checks.
    Found(Vec<Outcome>),
}

fn has_failed(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|it| it.verdict == Verdict::Failed)
}

struct Workplace<'a> {
    lab: &'a Lab,
    students: &'a Sources,
    solution: &'a Sources,
    tools: &'a dyn Tools,
    place: &'a Path,
}

impl Workplace<'_> {
    fn whole(&self) -> anyhow::Result<(Vec<Outcome>, Option<String>)> {
        let checks = &self.lab.checks;
        let program = match self.build(self.students, "whole") {
            Ok(program) => program,
            Err(error) => {
                let says = format!("{error:#}");
                let outcome = Outcome::failed(says.clone());
                return Ok((vec![outcome; checks.len()], Some(says)));
            }
        };
        let job = Job {
            program,
            filled: String::new(),
            checks: checks.clone(),
        };
        let mut found = self.tools.run(vec![job])?;
        Ok((found.pop().context("one job was run")?, None))
    }

    fn alone<'b>(
        &self,
        failed: &BTreeSet<&'b str>,
    ) -> anyhow::Result<Vec<(&'b str, Alone)>> {
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        let mixed = holes::mixed(self.lab, self.students, self.solution);
        let built = mixed.and_then(|mixed| {
            Ok((self.build(&mixed.sources, "mixed")?, mixed))
        });
        match built {
            Ok((program, mixed)) => {
                let job = |hole: &&str| Job {
                    program: program.clone(),
                    filled: mixed.all_but(hole),
                    checks: self.checks_of(hole),
                };
                let found = self.tools.run(failed.iter().map(job).collect())?;
                self.confirm(failed.iter().copied().zip(found).collect())
            }
            // One of them does not compile: which?
            Err(_) => self.one_by_one(failed),
        }
    }

    /// Tries what seems right once more, where there is no solution of it.
    ///
    /// What is in a hole can read its own program, the mixed one, and run it
    /// anew with what the solution has there. So this one has the solution in
    /// the holes that are wrong, and nowhere else.
    fn confirm<'b>(
        &self,
        found: Vec<(&'b str, Vec<Outcome>)>,
    ) -> anyhow::Result<Vec<(&'b str, Alone)>> {
        let is_right = |it: &&(&str, Vec<Outcome>)| !has_failed(&it.1);
        let right = found.iter().filter(is_right).map(|(hole, _)| *hole);
        let right: BTreeSet<&str> = right.collect();
        let mut doubtful = BTreeSet::new();
        if !right.is_empty() {
            let is_wrong = |it: &crate::description::Hole| {
                let wrong = |(hole, _): &(&str, _)| *hole == it.name;
                found.iter().any(wrong) && !right.contains(it.name.as_str())
            };
            let filled =
                holes::fill(self.lab, self.students, self.solution, is_wrong)?;
            let program = self.build(&filled, "confirmed")?;
            let job = |hole: &&str| Job {
                program: program.clone(),
                filled: String::new(),
                checks: self.checks_of(hole),
            };
            let again = self.tools.run(right.iter().map(job).collect())?;
            let again = right.iter().zip(again);
            let again = again.filter(|(_, outcomes)| has_failed(outcomes));
            doubtful.extend(again.map(|(hole, _)| *hole));
        }
        // Or it is another way, with which another hole does not get along.
        let mut judged = match doubtful.is_empty() {
            true => Vec::new(),
            false => self.one_by_one(&doubtful)?,
        };
        let found = found.into_iter();
        let rest = found.filter(|(hole, _)| !doubtful.contains(hole));
        judged.extend(rest.map(|(hole, it)| (hole, Alone::Found(it))));
        Ok(judged)
    }

    fn one_by_one<'b>(
        &self,
        failed: &BTreeSet<&'b str>,
    ) -> anyhow::Result<Vec<(&'b str, Alone)>> {
        let mut found = Vec::new();
        let mut without_end = 0;
        let mut jobs = Vec::new();
        for hole in failed {
            let others = |it: &crate::description::Hole| it.name != *hole;
            let filled =
                holes::fill(self.lab, self.students, self.solution, others);
            let sources = match filled {
                Ok(sources) => sources,
                Err(error) => {
                    let why =
                        format!("this hole can't be told apart: {error:#}");
                    found.push((*hole, Alone::CantTell(why)));
                    continue;
                }
            };
            // What has no end is in one hole; if not, it is outside of them,
            // and there is no point in waiting for it once more for each.
            let built = match without_end {
                2.. => Err(anyhow::anyhow!("it has no end")),
                _ => self.build(&sources, hole),
            };
            match built {
                Ok(program) => jobs.push((
                    *hole,
                    Job {
                        program,
                        filled: String::new(),
                        checks: self.checks_of(hole),
                    },
                )),
                Err(error) => {
                    without_end += u32::from(error.is::<TookTooLong>());
                    let says = "it does not compile, where all other holes are \
                                as they should be";
                    let count = self.checks_of(hole).len();
                    let outcomes = vec![Outcome::failed(says); count];
                    found.push((*hole, Alone::Found(outcomes)));
                }
            }
        }
        let (names, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        let outcomes = self.tools.run(jobs)?;
        let outcomes = outcomes.into_iter().map(Alone::Found);
        found.extend(names.into_iter().zip(outcomes));
        Ok(found)
    }

    fn checks_of(&self, hole: &str) -> Vec<Check> {
        let own = self.lab.checks.iter().filter(|it| it.hole == hole);
        own.cloned().collect()
    }

    fn build(&self, sources: &Sources, name: &str) -> anyhow::Result<PathBuf> {
        let program = self.tools.build(sources)?;
        let directory = self.place.join(name);
        fs::create_dir_all(&directory)?;
        let copy = directory.join(&self.lab.step);
        // The next one is built in the place of this one.
        fs::copy(program, &copy)?;
        Ok(copy)
    }
}

/// What the holes have earned.
pub struct Score<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// What became of each check.
    pub outcomes: &'a [Outcome],
}

impl Score<'_> {
    /// The checks of a hole that are not hidden, with what became of them.
    pub fn of_hole(
        &self,
        hole: &str,
    ) -> impl Iterator<Item = (&Check, &Outcome)> {
        let pairs = self.lab.checks.iter().zip(self.outcomes);
        pairs.filter(move |(check, _)| check.hole == hole && !check.hidden)
    }

    /// Whether all of it that could be tried is right, or not; `None` if
    /// nothing could.
    #[must_use]
    pub fn is_right(&self, hole: &str) -> Option<bool> {
        let verdicts = || self.of_hole(hole).map(|(_, it)| it.verdict);
        if verdicts().any(|it| it == Verdict::Failed) {
            return Some(false);
        }
        verdicts().any(|it| it == Verdict::Passed).then_some(true)
    }

    /// What the hole has earned: all that could be tried, or nothing.
    #[must_use]
    pub fn earned(&self, hole: &str) -> u32 {
        let right = self.is_right(hole) == Some(true);
        let passed = self
            .of_hole(hole)
            .filter(|(_, it)| right && it.verdict == Verdict::Passed);
        passed.map(|(check, _)| check.points).sum()
    }

    /// What can't be earned on this machine.
    #[must_use]
    pub fn not_run(&self) -> u32 {
        let pairs = self.lab.checks.iter().zip(self.outcomes);
        let not_run = pairs.filter(|(_, it)| it.verdict == Verdict::NotRun);
        not_run.map(|(check, _)| check.points).sum()
    }

    /// The hidden checks, with what became of them.
    pub fn hidden(&self) -> impl Iterator<Item = (&Check, &Outcome)> {
        let pairs = self.lab.checks.iter().zip(self.outcomes);
        pairs.filter(|(check, _)| check.hidden)
    }

    /// What all of it has earned.
    #[must_use]
    pub fn total(&self) -> u32 {
        let holes = self.lab.holes.iter().map(|it| self.earned(&it.name));
        let hidden = self.hidden().filter(|(check, outcome)| {
            // Where the rest of the hole is wrong, luck is no reason.
            outcome.verdict == Verdict::Passed
                && self.is_right(&check.hole) != Some(false)
        });
        holes.sum::<u32>() + hidden.map(|(check, _)| check.points).sum::<u32>()
    }

    /// As courses know it: `== hole ==  OK (10/10)`, and what is wrong.
    pub fn print(&self) {
        for hole in &self.lab.holes {
            print!("{}", self.text_of(&hole.name));
        }
        for (check, outcome) in self.hidden() {
            let right = outcome.verdict == Verdict::Passed
                && self.is_right(&check.hole) != Some(false);
            let earned = if right { check.points } else { 0 };
            let word = if right { "OK" } else { "FAIL" };
            let (name, max) = (&check.name, check.points);
            println!("== hidden: {name} ==  {word} ({earned}/{max})");
        }
    }

    /// The same of one hole.
    #[must_use]
    pub fn text_of(&self, hole: &str) -> String {
        let earned = self.earned(hole);
        let max = self.lab.points_of(hole);
        let word = match self.is_right(hole) {
            Some(true) => "OK",
            Some(false) => "FAIL",
            None => "NOT RUN",
        };
        let earned = match self.is_right(hole) {
            None => "-".to_owned(),
            Some(_) => earned.to_string(),
        };
        let mut text = format!("== {hole} ==  {word} ({earned}/{max})\n");
        text += &self.diagnosis(hole);
        text
    }

    /// What is wrong with a hole: one thing, the first. Not what follows from it.
    #[must_use]
    pub fn diagnosis(&self, hole: &str) -> String {
        let mut text = String::new();
        let mut own = self.of_hole(hole);
        let wrong = own.find(|(_, it)| it.verdict == Verdict::Failed);
        if let Some((check, outcome)) = wrong {
            text += &format!("    not true: {}\n", check.name);
            text += &indented(&outcome.text());
        } else {
            let not_run = self
                .of_hole(hole)
                .find(|(_, it)| it.verdict == Verdict::NotRun);
            if let Some((check, outcome)) = not_run {
                text += &format!("    not tried: {}\n", check.name);
                text += &indented(&outcome.text());
            }
        }
        text
    }
}

fn indented(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| format!("    {line}\n")).collect()
}
