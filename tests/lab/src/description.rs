//! A lab, as `labs/stepNN.toml` describes it, so that the sources stay clean:
//! which parts of a step are taken out, and what shows that they are back.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use ground::STEPS;
use serde::{Deserialize, Serialize};

use crate::{build::checkout, checks, files::read, lines::fenced};

/// A lab.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lab {
    /// The package of the step.
    pub step: String,
    /// What is taken out of it.
    #[serde(rename = "hole")]
    pub holes: Vec<Hole>,
    /// What shows that it is back.
    #[serde(rename = "check")]
    pub checks: Vec<Check>,
    /// What the checks are worth that students do not get.
    #[serde(default)]
    pub hidden: u32,
}

/// Something that is taken out of the step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    /// What it panics with, and what its fences say.
    pub name: String,
    /// What is taken out.
    pub places: Vec<Place>,
    /// From a nudge to nearly the answer.
    pub hints: Vec<String>,
}

/// Where a hole is: the body of a function, or lines, by what they say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Below the directory of the step.
    pub file: String,
    /// The function whose body it is.
    pub function: Option<String>,
    /// Or the lines.
    #[serde(default)]
    pub lines: Vec<String>,
    /// The variable that these lines bind, for what comes after them.
    pub binds: Option<String>,
}

/// A claim about the step, and what tries it.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The claim.
    pub name: String,
    /// The hole whose points these are.
    pub hole: String,
    /// What it is worth.
    pub points: u32,
    /// The function that tries it: see [`crate::checks`].
    #[serde(rename = "try")]
    pub function: String,
    /// It sets limits, which not everybody may.
    #[serde(default)]
    pub limits: bool,
    /// Students do not get it.
    #[serde(default)]
    pub hidden: bool,
}

/// The files of a step, by their path below the top of the workspace.
pub type Sources = BTreeMap<String, String>;

impl Lab {
    /// The lab of step `number`.
    pub fn load(number: usize) -> anyhow::Result<Lab> {
        ensure!((1..=STEPS.len()).contains(&number), "there is no such step");
        let text = read(&description(number))?;
        let lab: Lab = toml::from_str(&text)
            .with_context(|| format!("reading the lab of step {number}"))?;
        for check in &lab.checks {
            let known = lab.holes.iter().any(|hole| hole.name == check.hole);
            ensure!(known, "{:?} is about no hole", check.name);
            checks::find(&check.function)?;
        }
        Ok(lab)
    }

    /// The lab that a student's workspace has: the only one.
    pub fn of_student() -> anyhow::Result<Lab> {
        let here: Vec<usize> = (1..=STEPS.len())
            .filter(|number| description(*number).exists())
            .collect();
        ensure!(
            here.len() == 1,
            "this is no student's workspace; `cargo lab start N \
             --to DIR` makes one"
        );
        Lab::load(here[0])
    }

    /// The number of its step.
    pub fn number(&self) -> usize {
        let place = STEPS.iter().position(|step| *step == self.step);
        place.map_or(0, |index| index + 1)
    }

    /// What all checks are worth together.
    pub fn points(&self) -> u32 {
        self.checks.iter().map(|check| check.points).sum()
    }

    /// What the checks are worth together that students get.
    pub fn points_shown(&self) -> u32 {
        let shown = self.checks.iter().filter(|it| !it.hidden);
        shown.map(|check| check.points).sum()
    }

    /// What the hidden ones are worth together, here and for a student.
    pub fn points_hidden(&self) -> u32 {
        self.hidden + self.points() - self.points_shown()
    }

    /// What the checks of one hole are worth together, without hidden ones.
    pub fn points_of(&self, hole: &str) -> u32 {
        let own = self.checks.iter().filter(|it| it.hole == hole);
        own.filter(|it| !it.hidden).map(|check| check.points).sum()
    }

    /// The files that have holes, from the workspace at `directory`.
    pub fn sources(&self, directory: &Path) -> anyhow::Result<Sources> {
        let mut sources = Sources::new();
        for place in self.holes.iter().flat_map(|hole| &hole.places) {
            let file = self.path(place);
            let text = read(&directory.join(&file))?;
            sources.insert(file, text);
        }
        Ok(sources)
    }

    /// The file of a place, below the top of the workspace.
    pub fn path(&self, place: &Place) -> String {
        format!("{}/{}", self.step, place.file)
    }

    /// Whether the holes of a student's files can be told apart. The grader looks
    /// at them more closely, but this needs no parser, and these files compile.
    ///
    /// # Errors
    /// A function, or a fence, is not there any more.
    pub fn find_holes(&self, students: &Sources) -> anyhow::Result<()> {
        for hole in &self.holes {
            for place in &hole.places {
                let file = self.path(place);
                let source = students.get(&file);
                let source = source.with_context(|| format!("no {file}"))?;
                match &place.function {
                    Some(name) => find_function(source, name)?,
                    None => fenced(source, &hole.name).map(|_| ())?,
                }
            }
        }
        Ok(())
    }
}

/// Looks for the head of a function, which begins a line of code.
fn find_function(source: &str, name: &str) -> anyhow::Result<()> {
    let heads = ["(", "<"].map(|behind| format!("fn {name}{behind}"));
    let is_head = |line: &&str| {
        let code = line.split("//").next().unwrap_or_default();
        heads.iter().any(|head| code.contains(head))
    };
    match source.lines().filter(is_head).count() {
        0 => bail!("there is no function {name}"),
        1 => Ok(()),
        _ => bail!("there is more than one function {name}"),
    }
}

/// Where the lab of a step is described.
pub fn description(number: usize) -> PathBuf {
    let name = format!("tests/lab/labs/step{number:02}.toml");
    checkout().join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_by_its_head_alone() {
        let source = "\
/// Like `fn mount(`.
pub(crate) fn mount<'a>(root: &'a Path) { } // fn mount(
// fn mount(old: &Path) { }
fn mount_again() { mount(); }
";
        find_function(source, "mount").expect("there is one");
        find_function(source, "mount_again").expect("there is one");
        find_function(source, "mou").expect_err("a part of a name");
        let twice = format!("{source}    fn mount() {{ }}\n");
        find_function(&twice, "mount").expect_err("there are two");
    }
}
