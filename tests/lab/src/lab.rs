//! A lab: which parts of a step are taken out, and what shows that they are
//! back. It is described in `labs/stepNN.toml`, so that the sources stay clean.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    edit,
    workshop::{STEPS, checkout, read},
};

/// A lab.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lab {
    /// The package of the step.
    pub(crate) step: String,
    #[serde(rename = "hole")]
    pub(crate) holes: Vec<Hole>,
    #[serde(rename = "check")]
    pub(crate) checks: Vec<Check>,
}

/// Something that is taken out of the step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hole {
    pub(crate) name: String,
    places: Vec<Place>,
    /// From a nudge to nearly the answer.
    pub(crate) hints: Vec<String>,
}

/// Where a hole is: the body of a function, or lines, by what they say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// Below the directory of the step.
    file: String,
    function: Option<String>,
    #[serde(default)]
    lines: Vec<String>,
}

/// A script, and what it prints if the step is right.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// The claim.
    pub(crate) name: String,
    /// The hole whose points these are.
    pub(crate) hole: String,
    pub(crate) points: u32,
    /// Runs outside of the container, next to it; `$STEP` is the program.
    pub(crate) run: String,
    pub(crate) expect: String,
    pub(crate) hint: String,
    /// It sets limits, which not everybody may.
    #[serde(default)]
    pub(crate) limits: bool,
    /// Students do not get it.
    #[serde(default)]
    pub(crate) hidden: bool,
}

/// The files of a step, by their path below the top of the workspace.
pub(crate) type Sources = BTreeMap<String, String>;

impl Lab {
    /// The lab of step `number`.
    pub(crate) fn load(number: usize) -> anyhow::Result<Lab> {
        ensure!((1..=STEPS.len()).contains(&number), "there is no such step");
        let text = read(&description(number))?;
        let lab: Lab = toml::from_str(&text)
            .with_context(|| format!("reading the lab of step {number}"))?;
        for check in &lab.checks {
            let known = lab.holes.iter().any(|hole| hole.name == check.hole);
            ensure!(known, "{:?} is about no hole", check.name);
        }
        Ok(lab)
    }

    /// The lab that a student's workspace has: the only one.
    pub(crate) fn of_student() -> anyhow::Result<Lab> {
        let here: Vec<usize> = (1..=STEPS.len())
            .filter(|number| description(*number).exists())
            .collect();
        ensure!(
            here.len() == 1,
            "this is no student's workspace; `lab start N --to DIR` makes one"
        );
        Lab::load(here[0])
    }

    /// The number of its step.
    pub(crate) fn number(&self) -> usize {
        let place = STEPS.iter().position(|step| *step == self.step);
        place.map_or(0, |index| index + 1)
    }

    /// What all checks are worth together.
    pub(crate) fn points(&self) -> u32 {
        self.checks.iter().map(|check| check.points).sum()
    }

    /// The files that have holes, from the workspace at `directory`.
    pub(crate) fn sources(&self, directory: &Path) -> anyhow::Result<Sources> {
        let mut sources = Sources::new();
        for place in self.holes.iter().flat_map(|hole| &hole.places) {
            let file = self.path(place);
            let text = read(&directory.join(&file))?;
            sources.insert(file, text);
        }
        Ok(sources)
    }

    fn path(&self, place: &Place) -> String {
        format!("{}/{}", self.step, place.file)
    }

    /// Takes out everything, and leaves what panics with the hole's name.
    pub(crate) fn starter(
        &self,
        complete: &Sources,
    ) -> anyhow::Result<Sources> {
        let mut sources = complete.clone();
        for hole in &self.holes {
            for place in &hole.places {
                let source = text_of(&mut sources, &self.path(place))?;
                let range = place.in_solution(source)?;
                let todo = format!("todo!(\"the hole `{}`\")", hole.name);
                let blanks = edit::indentation(source, range.start);
                let text = match place.function {
                    Some(_) => format!("\n{blanks}    {todo}\n{blanks}"),
                    None => format!(
                        "{blanks}{}\n{blanks}{todo};\n{blanks}{}\n",
                        edit::fence_above(&hole.name),
                        edit::fence_below(&hole.name)
                    ),
                };
                source.replace_range(range, &text);
            }
        }
        Ok(sources)
    }

    /// Fills, in a student's files, the holes that `which` picks with what the
    /// solution has there.
    ///
    /// # Errors
    /// A function, or a fence, is not there any more.
    pub(crate) fn fill(
        &self,
        students: &Sources,
        solution: &Sources,
        which: impl Fn(&Hole) -> bool,
    ) -> anyhow::Result<Sources> {
        let mut sources = students.clone();
        for hole in self.holes.iter().filter(|hole| which(hole)) {
            for place in &hole.places {
                let text = self.removed(place, solution)?;
                let source = text_of(&mut sources, &self.path(place))?;
                let range = place.in_students(source, &hole.name)?;
                source.replace_range(range, &text);
            }
        }
        Ok(sources)
    }

    /// Whether the holes of a student's files can be told apart.
    ///
    /// # Errors
    /// A function, or a fence, is not there any more.
    pub(crate) fn find_holes(&self, students: &Sources) -> anyhow::Result<()> {
        for hole in &self.holes {
            for place in &hole.places {
                let file = self.path(place);
                let source = students.get(&file);
                let source = source.with_context(|| format!("no {file}"))?;
                place.in_students(source, &hole.name)?;
            }
        }
        Ok(())
    }

    /// Everything that the starter lacks.
    pub(crate) fn all_removed(
        &self,
        solution: &Sources,
    ) -> anyhow::Result<Vec<String>> {
        let places = self.holes.iter().flat_map(|hole| &hole.places);
        places.map(|place| self.removed(place, solution)).collect()
    }

    fn removed(
        &self,
        place: &Place,
        solution: &Sources,
    ) -> anyhow::Result<String> {
        let file = self.path(place);
        let source = solution.get(&file).context("no such file")?;
        let range = place.in_solution(source).with_context(|| file.clone())?;
        Ok(source[range].to_owned())
    }
}

impl Place {
    fn in_solution(&self, source: &str) -> anyhow::Result<Range<usize>> {
        match &self.function {
            Some(name) => edit::body(source, name),
            None => edit::lines(source, &self.lines),
        }
    }

    fn in_students(
        &self,
        source: &str,
        hole: &str,
    ) -> anyhow::Result<Range<usize>> {
        match &self.function {
            Some(name) => edit::body(source, name),
            None => edit::fenced(source, hole),
        }
    }
}

fn text_of<'a>(
    sources: &'a mut Sources,
    file: &str,
) -> anyhow::Result<&'a mut String> {
    sources.get_mut(file).with_context(|| format!("no {file}"))
}

/// Where the lab of a step is described.
pub(crate) fn description(number: usize) -> PathBuf {
    let name = format!("tests/lab/labs/step{number:02}.toml");
    checkout().join(name)
}

/// The description of a lab as students get it: without hidden checks, and
/// without the lines that a hole has taken out.
pub(crate) fn description_for_students(
    number: usize,
) -> anyhow::Result<String> {
    let text = fs::read_to_string(description(number))?;
    let parts = text.split("\n[[").enumerate();
    let kept = parts.filter(|(_, part)| !part.contains("\nhidden = true"));
    let kept: Vec<String> = kept
        .map(|(index, part)| match index {
            0 => part.to_owned(),
            _ => format!("\n[[{}", without_lines(part)),
        })
        .collect();
    Ok(kept.concat())
}

/// A part of a description without its `, lines = […]`. A line of Rust may have
/// brackets in it, so the list ends where that of the places goes on.
fn without_lines(part: &str) -> String {
    let mut pieces = part.split(", lines = [");
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (_, rest) = piece.split_once("] }").unwrap_or_default();
        kept += &format!(" }}{rest}");
    }
    kept
}
