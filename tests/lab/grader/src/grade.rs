//! Grades a submission.
//!
//! A check's points are earned by the whole program, or by the solution with
//! nothing but this one hole as the student has filled it: an empty hole costs
//! its own points and no others, although a program with a hole in it hardly
//! gets anywhere.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, anyhow, bail, ensure};
use ground::STEPS;
use lab::{
    build::{TookTooLong, checkout},
    check::{Outcome, Verdict},
    description::{Check, Lab, Sources},
    files::{mirror, read},
};
use serde_json::json;

use crate::{
    confine::Readable, edit::blank_out, holes, plan::Plan, workshop::Workshop,
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
pub fn main(
    directory: &Path,
    step: Option<usize>,
    student: &str,
    json: Option<&Path>,
) -> anyhow::Result<bool> {
    let step = match step {
        Some(step) => step,
        None => which(directory)?,
    };
    let grade =
        grade(directory, Lab::load(step)?, student, &Memory::default())?;
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
    memory: &Memory,
) -> anyhow::Result<Grade> {
    let workshop = Workshop::open()?;
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
    let take = || {
        // A link would lead to the solution.
        let real = own.canonicalize().context("there is no src")?;
        let inside = real.starts_with(directory.canonicalize()?);
        ensure!(inside, "{own:?} is a link that leads elsewhere");
        let ours = checkout().join(&lab.step).join("src");
        refuse(&own, &ours, &marks()?)?;
        mirror(&own, &sources)
    };
    if let Err(error) = take() {
        return all_fail(lab, &format!("{error:#}"));
    }
    let students = match lab.sources(&workshop.directory) {
        Ok(students) => students,
        Err(error) => return all_fail(lab, &format!("{error:#}")),
    };

    let job = Job {
        workshop: &workshop,
        step: &lab.step,
        student,
        memory,
    };
    let mut outcomes = job.run(&[(students.clone(), lab.checks.clone())])?;
    let mut outcomes = outcomes.remove(0);

    // Each hole alone, where the whole program shows too little of it.
    let mut failed: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, check) in lab.checks.iter().enumerate() {
        if outcomes[index].verdict == Verdict::Failed {
            failed.entry(check.hole.clone()).or_default().push(index);
        }
    }
    let mut versions = Vec::new();
    let mut places = Vec::new();
    for (hole, indices) in failed {
        match holes::fill(&lab, &students, &solution, |other| {
            other.name != hole
        }) {
            Ok(sources) => {
                let checks = indices.iter().map(|at| lab.checks[*at].clone());
                versions.push((sources, checks.collect()));
                places.push(indices);
            }
            Err(error) => {
                for index in indices {
                    let says = format!("\nthe hole alone: {error:#}");
                    outcomes[index].says += &says;
                }
            }
        }
    }
    for (found, indices) in job.run(&versions)?.into_iter().zip(places) {
        for (outcome, index) in found.into_iter().zip(indices) {
            let hint = &lab.checks[index].hint;
            or_alone(&mut outcomes[index], outcome, hint);
        }
    }
    Ok(Grade { lab, outcomes })
}

/// Takes the outcome of the hole alone, if that says more.
///
/// But not its words: that program has the solution in it, which a macro
/// around it, or an error in the midst of it, would show to the student.
fn or_alone(whole: &mut Outcome, alone: Outcome, hint: &str) {
    match alone.verdict {
        Verdict::Failed => {
            whole.says = format!(
                "{}\nthe hole alone, with the solution in all others: not \
                 passed\nhint:     {hint}\n",
                whole.says.trim_end()
            );
        }
        _ => *whole = alone,
    }
}

/// What became of checks: of the same sources it is always the same.
#[derive(Default)]
pub(crate) struct Memory(RefCell<BTreeMap<(Sources, String), Outcome>>);

impl Memory {
    fn get(&self, sources: &Sources, check: &Check) -> Option<Outcome> {
        let key = (sources.clone(), check.name.clone());
        self.0.borrow().get(&key).cloned()
    }

    fn put(&self, sources: &Sources, check: &Check, outcome: Outcome) {
        let key = (sources.clone(), check.name.clone());
        self.0.borrow_mut().insert(key, outcome);
    }
}

/// Builds versions of a program, and runs checks on each.
struct Job<'a> {
    workshop: &'a Workshop,
    step: &'a str,
    student: &'a str,
    memory: &'a Memory,
}

impl Job<'_> {
    fn run(
        &self,
        versions: &[(Sources, Vec<Check>)],
    ) -> anyhow::Result<Vec<Vec<Outcome>>> {
        let directory = tempfile::tempdir()?;
        let mut jobs = Vec::new();
        let mut without_end = 0;
        for (index, (sources, checks)) in versions.iter().enumerate() {
            let mut checks = checks.clone();
            checks.retain(|it| self.memory.get(sources, it).is_none());
            if checks.is_empty() {
                continue;
            }
            let place = directory.path().join(index.to_string());
            // What has no end is in one hole; if not, it is outside of them, and
            // there is no point in waiting for it once more for each.
            let built = match without_end {
                2.. => Err(anyhow!("what has no end is outside of the holes")),
                _ => self.build(sources, &place),
            };
            match built {
                Ok(program) => jobs.push((sources, (program, checks))),
                Err(error) => {
                    without_end += u32::from(error.is::<TookTooLong>());
                    let outcome = Outcome::failed(format!("{error:#}"));
                    for check in &checks {
                        self.memory.put(sources, check, outcome.clone());
                    }
                }
            }
        }
        let (sources, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        let found = run(self.student, jobs.clone())?;
        for ((sources, (_, checks)), found) in
            sources.into_iter().zip(&jobs).zip(found)
        {
            for (check, outcome) in checks.iter().zip(found) {
                self.memory.put(sources, check, outcome);
            }
        }
        let outcomes = |(sources, checks): &(Sources, Vec<Check>)| {
            let found = checks.iter().map(|it| self.memory.get(sources, it));
            found.collect::<Option<Vec<Outcome>>>()
        };
        let all = versions.iter().map(outcomes).collect::<Option<_>>();
        all.context("a check has no outcome")
    }

    fn build(
        &self,
        sources: &Sources,
        place: &Path,
    ) -> anyhow::Result<PathBuf> {
        for (file, text) in sources {
            self.workshop.write(file, text)?;
        }
        let program = self.workshop.build_students(self.step)?;
        fs::create_dir(place)?;
        let copy = place.join(self.step);
        fs::copy(program, &copy)?;
        Ok(copy)
    }
}

/// What makes the compiler, or the assembler, read other files.
const READING: [&str; 7] = [
    "include",
    "include_str",
    "include_bytes",
    "cfg_attr",
    "asm",
    "global_asm",
    "naked_asm",
];

/// What an attribute begins with that reads other files, or that hides its name.
const ATTRIBUTES: [&str; 4] = ["[path=", "[link(", "[r#", "#[$"];

/// Where the compiler can't be confined, what an attribute links does not show
/// afterwards. So there no macro may put the name of one in brackets.
const ANY_BY_MACRO: &str = "[$";

/// What is refused in sources without their blanks.
fn marks() -> anyhow::Result<Vec<&'static str>> {
    let mut marks = ATTRIBUTES.to_vec();
    if Readable::only(&[])?.is_none() {
        marks.push(ANY_BY_MACRO);
    }
    Ok(marks)
}

/// Refuses sources that read other files when they are compiled: the solution
/// is not far. A file that is the one of `ours` to the byte may do what it does.
///
/// This tells in plain words what is not wanted; what it overlooks, the compiler
/// can't read: see [`Workshop::build_students`].
fn refuse(directory: &Path, ours: &Path, marks: &[&str]) -> anyhow::Result<()> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("there are no sources in {directory:?}"))?;
    for entry in entries {
        let entry = entry?;
        let (path, ours) = (entry.path(), ours.join(entry.file_name()));
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_dir() {
            refuse(&path, &ours, marks)?;
            continue;
        }
        ensure!(kind.is_file(), "{path:?} is no regular file");
        if fs::read(&ours)
            .is_ok_and(|ours| fs::read(&path).is_ok_and(|it| it == ours))
        {
            continue;
        }
        // A word, since `use std::include_str as other` has none of the marks
        // behind it; and not in a comment, where it may be.
        let code = blank_out(&read(&path)?);
        let mut words =
            code.split(|it: char| !it.is_alphanumeric() && it != '_');
        let word = words.find(|it| READING.contains(it));
        let compact: String = code.split_whitespace().collect();
        let mark = marks.iter().copied().find(|it| compact.contains(it));
        if let Some(found) = word.or(mark) {
            bail!("{path:?} has `{found}` in it, which reads other files");
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
    fs::copy("/proc/self/exe", top.join("grader"))?;
    for (index, (program, _)) in plan.jobs.iter_mut().enumerate() {
        let name = program.file_name().context("it has no name")?;
        let copy = top.join(index.to_string()).join(name);
        fs::create_dir_all(copy.parent().unwrap_or(top))?;
        fs::copy(&*program, &copy)?;
        *program = copy;
    }
    fs::write(top.join("plan.json"), serde_json::to_vec(&plan)?)?;
    let script = format!(
        "mkdir -p /var/cache; LAB_TIME_FACTOR=6 {top}/grader run-plan {top}/plan.json",
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
const OUTCOMES: &str = "OUTCOMES ";

/// The side of the virtual machine: runs the plan in a file, and says what became
/// of it.
///
/// # Errors
/// There is no such plan.
pub fn run_plan(plan: &Path) -> anyhow::Result<()> {
    let plan: Plan = serde_json::from_str(&read(plan)?)?;
    let outcomes = serde_json::to_string(&plan.run())?;
    println!("\n{OUTCOMES}{outcomes}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn sources_that_read_others_are_refused() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let ours = tempfile::tempdir().expect("a temporary directory");
        let main = place.path().join("main.rs");
        let refuse_text = |text: &str| {
            fs::write(&main, text).expect("it is ours");
            refuse(place.path(), ours.path(), &ATTRIBUTES)
        };
        for word in READING {
            refuse_text(&format!("use std::{word} as m;")).expect_err(word);
        }
        for text in ["#[ path = \"x\"] mod x;", "#[r#path=\"x\"] mod x;"] {
            refuse_text(text).expect_err(text);
        }
        refuse_text("#[link(name = \"x\")] extern {}").expect_err("a library");
        refuse_text("let link = (); f([path, link])").expect("variables");
        refuse_text("macro_rules! m { ($a:tt) => { #[$a = 1] } }")
            .expect_err("an attribute by a macro");
        refuse_text("/* include */ fn x() { y(\"include #[path=\") }")
            .expect("a comment and a string");
        // What is ours may do it.
        fs::write(ours.path().join("main.rs"), "include!();")
            .expect("it is ours");
        refuse_text("include!();").expect("the same");

        fs::remove_file(&main).expect("it is there");
        symlink("/etc/passwd", &main).expect("it is ours");
        refuse(place.path(), ours.path(), &[]).expect_err("a link");
    }

    #[test]
    fn a_hole_alone_tells_nothing_of_the_solution_around_it() {
        let mut outcome = Outcome::failed("got: nothing\n");
        or_alone(&mut outcome, Outcome::failed("got: the solution"), "a hint");
        assert!(outcome.says.starts_with("got: nothing\nthe"));
        assert!(outcome.says.contains("a hint"));
        assert!(!outcome.says.contains("got: the solution"));
        or_alone(&mut outcome, Outcome::new(Verdict::Passed, ""), "a hint");
        assert!(outcome.verdict == Verdict::Passed);
    }
}
