//! Grades a submission: see [`lab::judge`] for how.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use ground::STEPS;
use lab::{
    anywhere,
    build::checkout,
    check::{Outcome, Verdict, printable},
    description::{Lab, Sources},
    edit::blank_out,
    files::{ensure_shallow, is_source, mirror_sources, read},
    holes::{edits_outside, is_empty, starter},
    judge::{Score, Tools, judge},
    plan::{Job, Plan},
};
use serde_json::json;

use crate::{
    confine::Readable,
    variant::{NOTE, Task},
    workshop::Workshop,
};

/// A grade: what became of each check.
pub(crate) struct Grade {
    pub(crate) lab: Lab,
    pub(crate) outcomes: Vec<Outcome>,
    /// What else there is to be said.
    pub(crate) remarks: Vec<String>,
}

impl Grade {
    pub(crate) fn score(&self) -> Score<'_> {
        Score {
            lab: &self.lab,
            outcomes: &self.outcomes,
        }
    }

    /// Whether every check could be run.
    pub(crate) fn is_complete(&self) -> bool {
        self.outcomes.iter().all(|it| it.verdict != Verdict::NotRun)
    }

    fn print(&self) {
        for remark in &self.remarks {
            println!("{}", printable(remark));
        }
        self.score().print();
        println!("Score: {}/{}", self.score().total(), self.lab.points());
    }

    /// What Gradescope reads. See its documentation, "Autograder
    /// Specifications".
    pub(crate) fn json(&self) -> serde_json::Value {
        let score = self.score();
        let status = |right| if right { "passed" } else { "failed" };
        let holes = self.lab.holes.iter().map(|hole| {
            let name = &hole.name;
            json!({
                "name": name,
                "score": score.earned(name),
                "max_score": self.lab.points_of(name),
                "status": status(score.is_right(name) == Some(true)),
                "output": score.diagnosis(name),
                "visibility": "visible",
            })
        });
        let hidden = score.hidden().map(|(check, outcome)| {
            let right = outcome.verdict == Verdict::Passed
                && score.is_right(&check.hole) != Some(false);
            json!({
                "name": check.name,
                "score": if right { check.points } else { 0 },
                "max_score": check.points,
                "status": status(right),
                "output": outcome.text(),
                "visibility": "after_published",
            })
        });
        let tests: Vec<_> = holes.chain(hidden).collect();
        json!({
            "score": score.total(),
            "output": self.remarks.join("\n"),
            "tests": tests,
        })
    }
}

/// Grades the submission at `directory`, prints a table, and writes `json`.
/// True for full marks.
pub fn main(
    directory: &Path,
    step: Option<usize>,
    variant: u32,
    json: Option<&Path>,
) -> anyhow::Result<bool> {
    let step = match step {
        Some(step) => step,
        None => which(directory)?,
    };
    let task = Task::load(step, variant)?;
    let grade = grade(directory, task, &Workshop::open()?)?;
    grade.print();
    if let Some(json) = json {
        let text = format!("{:#}\n", grade.json());
        fs::write(json, text).with_context(|| format!("writing {json:?}"))?;
    }
    ensure!(
        grade.is_complete(),
        "not all checks could be run here, so this is no grade: {} points are \
         missing. Where tests/vm/prepare has made one, a virtual machine runs \
         them",
        grade.score().not_run()
    );
    Ok(grade.score().total() == grade.lab.points())
}

/// Which lab a submission is: it has the last of the steps.
pub(crate) fn which(directory: &Path) -> anyhow::Result<usize> {
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
    task: Task,
    workshop: &Workshop,
) -> anyhow::Result<Grade> {
    let solution = task.solution()?;
    let noted = noted(directory).filter(|it| *it != task.number);
    let other = noted.map(|noted| {
        format!(
            "it says that it is variant {noted}, and is graded as {}",
            task.number
        )
    });
    let lab = task.lab;
    let students = match take(directory, &lab, workshop) {
        Ok(students) => students,
        Err(error) => return Ok(all_fail(lab, &format!("{error:#}"))),
    };
    let bench = Bench {
        workshop,
        lab: &lab,
        own: &students,
        warnings: RefCell::default(),
    };
    // Where other submissions can't be seen from a sandbox.
    let place = tempfile::tempdir()?;
    let judgement = judge(&lab, &students, &solution, &bench, place.path())?;
    let mut remarks: Vec<String> = other.into_iter().collect();
    remarks.extend(edits(&lab, &students, &solution)?);
    remarks.extend(bench.warnings.take());
    remarks.extend(judgement.does_not_compile.clone());
    let mut outcomes = judgement.outcomes;
    for outcome in &mut outcomes {
        if Some(&outcome.says) == judgement.does_not_compile.as_ref() {
            outcome.says = "it does not compile".to_owned();
        }
        // It may have come from the solution that was around the hole.
        outcome.heard.clear();
    }
    Ok(Grade {
        lab,
        outcomes,
        remarks,
    })
}

/// Which variant a submission says it is. Instead of a file with a number it may
/// have a FIFO there, a device without an end, or a link to a file of ours.
fn noted(directory: &Path) -> Option<u32> {
    let path = directory.join(NOTE);
    let is_number = path
        .symlink_metadata()
        .is_ok_and(|it| it.is_file() && it.len() < 16);
    let text = is_number.then(|| fs::read_to_string(path).ok())??;
    text.trim().parse().ok()
}

fn all_fail(lab: Lab, says: &str) -> Grade {
    let outcomes = lab.checks.iter().map(|_| Outcome::failed(says));
    let outcomes = outcomes.collect();
    Grade {
        lab,
        outcomes,
        remarks: Vec::new(),
    }
}

/// Takes the sources of the step into the workshop: of a submission nothing else
/// counts.
fn take(
    directory: &Path,
    lab: &Lab,
    workshop: &Workshop,
) -> anyhow::Result<Sources> {
    let own = directory.join(&lab.step).join("src");
    let own = match own.is_dir() {
        true => own,
        false => directory.join("src"),
    };
    // A link would lead to the solution.
    let real = own.canonicalize().context("there is no src")?;
    let inside = real.starts_with(directory.canonicalize()?);
    ensure!(inside, "{own:?} is a link that leads elsewhere");
    ensure_shallow(&own)?;
    let ours = checkout().join(&lab.step).join("src");
    refuse(&own, &ours, &marks()?)?;
    mirror_sources(&own, &workshop.directory.join(&lab.step).join("src"))?;
    lab.sources(&workshop.directory)
}

/// What was edited that is no hole, in words.
fn edits(
    lab: &Lab,
    students: &Sources,
    solution: &Sources,
) -> anyhow::Result<Vec<String>> {
    let starter = starter(lab, solution)?;
    let refused = "the holes can't be graded one by one";
    Ok(edits_outside(lab, students, &starter, refused))
}

/// What a submission is judged with.
struct Bench<'a> {
    workshop: &'a Workshop,
    lab: &'a Lab,
    own: &'a Sources,
    warnings: RefCell<Vec<String>>,
}

impl Tools for Bench<'_> {
    fn build(&self, sources: &Sources) -> anyhow::Result<PathBuf> {
        for (file, text) in sources {
            self.workshop.write(file, text)?;
        }
        let built = self.workshop.build_students(&self.lab.step)?;
        if sources == self.own {
            let mut holes = self.lab.holes.iter();
            let empty = holes.any(|it| is_empty(&it.name, sources));
            self.warnings.replace(built.warnings(!empty));
        }
        Ok(built.program)
    }

    fn run(&self, jobs: Vec<Job>) -> anyhow::Result<Vec<Vec<Outcome>>> {
        anywhere::run(Plan { jobs })
    }
}

/// How large a source may be, in bytes: the largest of ours has a thirtieth.
pub(crate) const LARGEST: u64 = 1 << 20;

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
        // Of the others nothing gets to where it is built.
        if !is_source(&path) {
            continue;
        }
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_dir() {
            refuse(&path, &ours, marks)?;
            continue;
        }
        ensure!(kind.is_file(), "{path:?} is no regular file");
        let size = path.symlink_metadata()?.len();
        ensure!(
            size <= LARGEST,
            "{path:?} has {size} bytes, and a source has {LARGEST} at most"
        );
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn what_a_submission_says_of_itself_is_a_number() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let note = place.path().join(NOTE);
        fs::create_dir(note.parent().expect("it is below")).expect("ours");
        let is_noted = |expected| {
            assert_eq!(noted(place.path()), expected);
            fs::remove_file(&note).expect("it is ours");
        };
        fs::write(&note, "2\n").expect("it is ours");
        is_noted(Some(2));
        for path in ["/dev/zero", "/etc/hostname"] {
            symlink(path, &note).expect("it is ours");
            is_noted(None);
        }
        mkfifo(&note, Mode::S_IRWXU).expect("it is ours");
        is_noted(None);
        fs::write(&note, "a secret").expect("it is ours");
        is_noted(None);
    }

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
}
