//! Grades a submission.
//!
//! A check's points are earned by the whole program, or by the solution with
//! nothing but this one hole as the student has filled it: an empty hole costs
//! its own points and no others, although a program with a hole in it hardly
//! gets anywhere.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use serde_json::json;

use crate::{
    check::{Outcome, Plan, Verdict},
    lab::{Check, Lab, Sources},
    workshop::{STEPS, Workshop, checkout, mirror, read},
};

/// Where checks are run: a command that takes options and a script, like
/// `tests/vm/run`; here, if it is not set.
const VM: &str = "LAB_VM";

/// A grade: what became of each check.
pub(crate) struct Grade {
    pub(crate) lab: Lab,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Grade {
    pub(crate) fn score(&self) -> u32 {
        let pairs = self.lab.checks.iter().zip(&self.outcomes);
        pairs.map(|(check, outcome)| outcome.points(check)).sum()
    }

    /// What the checks of one hole have earned.
    pub(crate) fn score_of(&self, hole: &str) -> u32 {
        let pairs = self.lab.checks.iter().zip(&self.outcomes);
        pairs
            .filter(|(check, _)| check.hole == hole)
            .map(|(check, outcome)| outcome.points(check))
            .sum()
    }

    /// Whether every check could be run.
    pub(crate) fn is_complete(&self) -> bool {
        self.outcomes.iter().all(|it| it.verdict != Verdict::NotRun)
    }

    fn print(&self) {
        for (check, outcome) in self.lab.checks.iter().zip(&self.outcomes) {
            outcome.print(check);
        }
        println!("Score: {}/{}", self.score(), self.lab.points());
    }

    /// What Gradescope reads. See its documentation, "Autograder
    /// Specifications".
    fn json(&self) -> serde_json::Value {
        let pairs = self.lab.checks.iter().zip(&self.outcomes);
        let tests: Vec<_> = pairs
            .map(|(check, outcome)| {
                json!({
                    "name": check.name,
                    "score": outcome.points(check),
                    "max_score": check.points,
                    "status": match outcome.verdict {
                        Verdict::Passed => "passed",
                        _ => "failed",
                    },
                    "output": match outcome.verdict {
                        Verdict::NotRun => format!("not run: {}", outcome.says),
                        _ => outcome.says.clone(),
                    },
                    "visibility": match check.hidden {
                        true => "after_published",
                        false => "visible",
                    },
                })
            })
            .collect();
        json!({ "score": self.score(), "tests": tests })
    }
}

/// Grades the submission at `directory`, prints a table, and writes `json`.
/// True for full marks.
pub(crate) fn main(
    directory: &Path,
    step: Option<usize>,
    student: &str,
    json: Option<&Path>,
) -> anyhow::Result<bool> {
    let step = match step {
        Some(step) => step,
        None => which(directory)?,
    };
    let grade = grade(directory, Lab::load(step)?, student)?;
    grade.print();
    if let Some(json) = json {
        let text = format!("{:#}\n", grade.json());
        fs::write(json, text).with_context(|| format!("writing {json:?}"))?;
    }
    ensure!(
        grade.is_complete(),
        "not all checks could be run here, so this is no grade"
    );
    Ok(grade.score() == grade.lab.points())
}

/// Which lab a submission is: it has the last of the steps.
fn which(directory: &Path) -> anyhow::Result<usize> {
    let has = |number: &usize| directory.join(STEPS[number - 1]).is_dir();
    let numbers = (1..=STEPS.len()).rev();
    numbers
        .into_iter()
        .find(has)
        .context("no step in it; say which one with --step")
}

/// Grades the submission at `directory`: a student's workspace, or only the
/// directory of the step.
pub(crate) fn grade(
    directory: &Path,
    lab: Lab,
    student: &str,
) -> anyhow::Result<Grade> {
    let mut packages = vec!["common"];
    packages.extend(&STEPS[..lab.number()]);
    let name = format!("grade-{}", lab.step);
    let workshop = Workshop::open(&name, checkout(), &packages)?;
    let solution = lab.sources(checkout())?;

    let own = directory.join(&lab.step).join("src");
    let own = match own.is_dir() {
        true => own,
        false => directory.join("src"),
    };
    let all_fail = |lab: Lab, says: &str| {
        let outcomes = lab.checks.iter().map(|_| Outcome::failed(says));
        let outcomes = outcomes.collect();
        Ok(Grade { lab, outcomes })
    };
    // Of a submission nothing counts but the sources of its step.
    let sources = workshop.directory.join(&lab.step).join("src");
    if let Err(error) = refuse(&own).and_then(|()| mirror(&own, &sources)) {
        return all_fail(lab, &format!("{error:#}"));
    }
    let students = match lab.sources(&workshop.directory) {
        Ok(students) => students,
        Err(error) => return all_fail(lab, &format!("{error:#}")),
    };

    let programs = Programs::new(&workshop, &lab)?;
    let whole = programs.build("whole", &students);
    let mut outcomes = match &whole {
        Ok(program) => {
            let jobs = vec![(program.clone(), lab.checks.clone())];
            run(student, jobs)?.remove(0)
        }
        Err(says) => {
            let outcome = Outcome::failed(format!("{says:#}"));
            vec![outcome; lab.checks.len()]
        }
    };

    // Each hole alone, where the whole program shows too little of it.
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, check) in lab.checks.iter().enumerate() {
        if outcomes[index].verdict == Verdict::Failed {
            places.entry(check.hole.clone()).or_default().push(index);
        }
    }
    let mut jobs = Vec::new();
    let mut indices = Vec::new();
    for (hole, failed) in places {
        let alone = lab
            .fill(&students, &solution, |other| other.name != hole)
            .and_then(|sources| programs.build(&hole, &sources));
        match alone {
            Ok(program) => {
                let checks =
                    failed.iter().map(|index| lab.checks[*index].clone());
                jobs.push((program, checks.collect()));
                indices.push(failed);
            }
            Err(error) => {
                for index in failed {
                    let says = format!("\nthe hole alone: {error:#}");
                    outcomes[index].says += &says;
                }
            }
        }
    }
    for (found, failed) in run(student, jobs)?.into_iter().zip(indices) {
        for (outcome, index) in found.into_iter().zip(failed) {
            outcomes[index] = outcome;
        }
    }
    Ok(Grade { lab, outcomes })
}

/// Builds versions of a program, each in a place of its own.
struct Programs<'a> {
    workshop: &'a Workshop,
    step: String,
    directory: tempfile::TempDir,
}

impl Programs<'_> {
    fn new<'a>(
        workshop: &'a Workshop,
        lab: &Lab,
    ) -> anyhow::Result<Programs<'a>> {
        Ok(Programs {
            workshop,
            step: lab.step.clone(),
            directory: tempfile::tempdir()?,
        })
    }

    fn build(&self, name: &str, sources: &Sources) -> anyhow::Result<PathBuf> {
        for (file, text) in sources {
            self.workshop.write(file, text)?;
        }
        let program = self.workshop.build(&self.step)?;
        let place = self.directory.path().join(name);
        fs::create_dir(&place)?;
        let copy = place.join(&self.step);
        fs::copy(program, &copy)?;
        Ok(copy)
    }
}

/// Refuses sources that read other files when they are compiled: the solution
/// is not far.
fn refuse(directory: &Path) -> anyhow::Result<()> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("there are no sources in {directory:?}"))?;
    for entry in entries {
        let path = entry?.path();
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_dir() {
            refuse(&path)?;
            continue;
        }
        ensure!(kind.is_file(), "{path:?} is no regular file");
        let text: String = read(&path)?.split_whitespace().collect();
        for word in [
            "include!",
            "include_str!",
            "include_bytes!",
            "[path=",
            "cfg_attr",
        ] {
            ensure!(
                !text.contains(word),
                "{path:?} has `{word}` in it, which reads other files"
            );
        }
    }
    Ok(())
}

/// Runs checks on programs, here or in the virtual machine.
fn run(
    student: &str,
    jobs: Vec<(PathBuf, Vec<Check>)>,
) -> anyhow::Result<Vec<Vec<Outcome>>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let student = student.to_owned();
    let plan = Plan { student, jobs };
    match std::env::var_os(VM) {
        None => Ok(plan.run()),
        Some(vm) => run_in_vm(Path::new(&vm), plan),
    }
}

/// Everything that is needed goes along in one directory: this program, which
/// is linked statically, the plan, and the programs to be checked.
fn run_in_vm(vm: &Path, mut plan: Plan) -> anyhow::Result<Vec<Vec<Outcome>>> {
    let place = tempfile::Builder::new().prefix("lab-vm-").tempdir()?;
    let top = place.path();
    fs::copy("/proc/self/exe", top.join("lab"))?;
    for (index, (program, _)) in plan.jobs.iter_mut().enumerate() {
        let name = program.file_name().context("it has no name")?;
        let copy = top.join(index.to_string()).join(name);
        fs::create_dir_all(copy.parent().unwrap_or(top))?;
        fs::copy(&*program, &copy)?;
        *program = copy;
    }
    fs::write(top.join("plan.json"), serde_json::to_vec(&plan)?)?;
    let script = format!(
        "LAB_TIME_FACTOR=6 {top}/lab run-plan {top}/plan.json",
        top = top.display()
    );
    let output = Command::new(vm)
        .args(["--limit", "900", "--bring"])
        .arg(top)
        .arg(script)
        .output()
        .with_context(|| format!("running {vm:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let mut lines = stdout.lines();
    let Some(line) = lines.find_map(|line| line.strip_prefix(OUTCOMES)) else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("the virtual machine has said nothing: {stdout}{stderr}");
    };
    Ok(serde_json::from_str(line)?)
}

/// Begins the line with what became of a plan.
pub(crate) const OUTCOMES: &str = "OUTCOMES ";
