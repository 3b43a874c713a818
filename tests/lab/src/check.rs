//! Runs the checks of a lab on a program.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    anywhere,
    build::{Build, LIMIT, checkout, target_of},
    description::{Check, Lab, Sources},
    files::{mirror, write_if_other},
    holes::{edits_outside, is_empty},
    judge::{Score, Tools, judge},
    limits,
    plan::{Job, Plan},
    sandbox::{self, Finding},
    sealed,
};

/// So many checks of a program may take too long.
const PATIENCE: usize = 2;

/// What became of a check.
#[derive(Clone, Deserialize, Serialize)]
pub struct Outcome {
    /// Whether it has passed.
    pub verdict: Verdict,
    /// For the student: what is wrong.
    pub says: String,
    /// What the program has said of errors.
    pub heard: String,
    /// It had to be ended.
    pub took_too_long: bool,
}

/// Whether a check has passed.
#[derive(Clone, Copy, Deserialize, PartialEq, Serialize)]
pub enum Verdict {
    /// It printed what it should.
    Passed,
    /// It did not.
    Failed,
    /// This machine can't run it.
    NotRun,
}

impl Outcome {
    /// An outcome in time.
    pub fn new(verdict: Verdict, says: impl Into<String>) -> Outcome {
        Outcome {
            verdict,
            says: says.into(),
            heard: String::new(),
            took_too_long: false,
        }
    }

    /// One that has not passed.
    pub fn failed(says: impl Into<String>) -> Outcome {
        Outcome::new(Verdict::Failed, says)
    }

    /// What is wrong, and what the program has said of errors.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.says.trim_end().to_owned();
        // A program that runs twice may be heard twice.
        let mut heard = BTreeSet::new();
        let telling = self.heard.lines().filter(|line| {
            !line.starts_with("note: run with")
                // Which it may not in the sandbox, and is another lab's.
                && !line.contains(": warning: not limited: ")
                && !line.trim().is_empty()
                && heard.insert(*line)
        });
        for line in telling.take(6) {
            text += &format!("\nit said: {line}");
        }
        printable(&text)
    }
}

/// What can be shown in a terminal: a program chooses the names that it is found
/// by, and may choose what moves the cursor.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            it if it.is_control() => shown.extend(it.escape_default()),
            it => shown.push(it),
        }
    }
    shown
}

/// Runs the checks of a job, one after the other.
///
/// A program that had to be ended twice is not tried any more: its checks could
/// take minutes, only to say the same. And where one check of a hole has failed,
/// its others do not count.
pub fn try_all(job: &Job) -> Vec<Outcome> {
    let mut ended = 0;
    let mut wrong: BTreeSet<&str> = BTreeSet::new();
    let mut outcomes = Vec::new();
    for check in &job.checks {
        let outcome = if sandbox::is_interrupted() {
            Outcome::new(Verdict::NotRun, "interrupted")
        } else if ended == PATIENCE {
            Outcome::failed("not tried: the program had to be ended twice")
        } else if wrong.contains(check.hole.as_str()) {
            Outcome::failed("not tried: another check of this hole has failed")
        } else {
            try_one(job, check)
        };
        ended += usize::from(outcome.took_too_long);
        if outcome.verdict == Verdict::Failed {
            wrong.insert(&check.hole);
        }
        outcomes.push(outcome);
    }
    outcomes
}

fn try_one(job: &Job, check: &Check) -> Outcome {
    if let (true, Some(why)) = (check.limits, limits::why_not()) {
        return Outcome::new(Verdict::NotRun, why);
    }
    let finished = sandbox::check(&job.program, &check.function, &job.filled);
    let finished = match finished {
        Ok(finished) => finished,
        Err(error) => {
            let says = format!(
                "{error:#}\nin the whole workspace, `cargo run -p step06-full \
                 -- doctor` says what to change; `cargo lab check --vm` can \
                 always run it"
            );
            return Outcome::new(Verdict::NotRun, says);
        }
    };
    let mut outcome = match serde_json::from_str::<Finding>(&finished.stdout) {
        Ok(finding) => Outcome {
            heard: finding.heard,
            ..Outcome::new(finding.verdict, finding.says)
        },
        Err(_) => Outcome::failed("the check itself was ended from inside"),
    };
    if let Some(hole) = empty_hole(&outcome.heard)
        && outcome.verdict == Verdict::Failed
    {
        outcome = Outcome::failed(format!("the hole `{hole}` is still empty"));
    }
    if let Some(trouble) = &finished.trouble {
        // What is left behind is wrong, whatever the check says.
        if outcome.verdict == Verdict::Passed || finished.took_too_long {
            outcome = Outcome::failed(trouble);
        }
    }
    outcome.took_too_long = finished.took_too_long;
    outcome
}

/// Which hole has panicked.
fn empty_hole(stderr: &str) -> Option<&str> {
    let (_, rest) = stderr.split_once("not yet implemented: the hole `")?;
    rest.split('`').next()
}

/// Where a student's step is built: a copy, in which the holes can be filled.
struct Copy<'a> {
    lab: &'a Lab,
    directory: PathBuf,
    target: PathBuf,
    /// What the compiler warns of.
    warnings: RefCell<Vec<String>>,
    /// What can't be tried here is tried in a virtual machine.
    vm: bool,
}

impl Copy<'_> {
    fn of(lab: &Lab, vm: bool) -> anyhow::Result<Copy<'_>> {
        let top = checkout();
        let place = target_of(top).join("lab");
        let copy = Copy {
            lab,
            directory: place.join("copy"),
            target: place.join("target"),
            warnings: RefCell::default(),
            vm,
        };
        copy.begin_with_what_is_built()?;
        let entries = fs::read_dir(top)?.flatten();
        for entry in entries {
            let name = entry.file_name();
            let from = entry.path();
            let to = copy.directory.join(&name);
            let is_package = from.join("Cargo.toml").exists()
                || [".cargo", "tests"].iter().any(|it| name == *it);
            if is_package && from.is_dir() {
                mirror(&from, &to)?;
            } else if ["Cargo.toml", "Cargo.lock"].iter().any(|it| name == *it)
            {
                write_if_other(&to, &fs::read(&from)?)?;
            }
        }
        Ok(copy)
    }

    /// This program was built just now, and so were most of the libraries.
    fn begin_with_what_is_built(&self) -> anyhow::Result<()> {
        if self.target.exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.target)?;
        let built = fs::read_dir(target_of(checkout()))?.flatten();
        for entry in built.filter(|it| it.file_name() != "lab") {
            // Whatever is missing is built once more.
            let _ = Command::new("cp")
                .args(["-a", "--reflink=auto"])
                .args([&entry.path(), &self.target])
                .status();
        }
        Ok(())
    }
}

impl Tools for Copy<'_> {
    fn build(&self, sources: &Sources) -> anyhow::Result<PathBuf> {
        for (file, text) in sources {
            write_if_other(&self.directory.join(file), text.as_bytes())?;
        }
        let build = Build {
            directory: &self.directory,
            package: &self.lab.step,
            target: &self.target,
            limit: LIMIT,
        };
        let built = build.run();
        // What is in the other holes is not to be found here afterwards.
        let own = self.lab.sources(checkout())?;
        for (file, text) in &own {
            write_if_other(&self.directory.join(file), text.as_bytes())?;
        }
        let built = built?;
        if *sources == own {
            let holes = &self.lab.holes;
            let empty = holes.iter().any(|it| is_empty(&it.name, &own));
            self.warnings.replace(built.warnings(!empty));
        }
        Ok(built.program)
    }

    fn run(&self, jobs: Vec<Job>) -> anyhow::Result<Vec<Vec<Outcome>>> {
        match self.vm {
            true => anywhere::run(Plan { jobs }),
            false => Plan { jobs }.run(),
        }
    }
}

/// The student's command: builds the workspace and prints the score. True for
/// full marks.
pub fn main(vm: bool) -> anyhow::Result<bool> {
    let lab = Lab::of_student()?;
    let top = checkout();
    let students = lab.sources(top)?;
    let solution = sealed::open(top).context(
        "what each hole is judged with is gone: fetch .lab from the archive",
    )?;
    if vm {
        anywhere::prepare()?;
    }
    let copy = Copy::of(&lab, vm)?;
    let place = target_of(top).join("lab/programs");
    let judgement = judge(&lab, &students, &solution, &copy, &place)?;
    for warning in copy.warnings.borrow().iter() {
        println!("{warning}\n");
    }
    if let Some(says) = &judgement.does_not_compile {
        println!("{says}\n");
    }
    let mut outcomes = judgement.outcomes;
    for outcome in &mut outcomes {
        // It was shown once, above.
        if Some(&outcome.says) == judgement.does_not_compile.as_ref() {
            outcome.says = "it does not compile".to_owned();
        }
    }
    let score = Score {
        lab: &lab,
        outcomes: &outcomes,
    };
    score.print();
    for edit in edits(&lab, &students)? {
        println!("Warning: {edit}");
    }
    let (earned, all) = (score.total(), lab.points());
    let not_run = score.not_run();
    println!("Score: {earned}/{}", all - not_run);
    if not_run > 0 {
        println!(
            "{not_run} points more can't be earned on this machine: \
             `cargo lab check --vm` tries them in a virtual one"
        );
        if let Some(why) = limits::why_not() {
            println!(
                "({why}. With systemd a cgroup of your own would do: \
                 systemd-run --user --scope -p Delegate=yes -- cargo lab check)"
            );
        }
    }
    if lab.hidden > 0 {
        println!("The grade has {} points more, by hidden checks", lab.hidden);
    }
    Ok(earned == all)
}

/// What was edited that is no hole, in words.
fn edits(lab: &Lab, students: &Sources) -> anyhow::Result<Vec<String>> {
    let top = checkout();
    let starter = lab.sources(&top.join(".lab/starter"))?;
    let refused = "your holes can't be graded one by one any more";
    let mut edits = edits_outside(lab, students, &starter, refused);
    for file in sealed::changed_files(top)? {
        edits.push(format!(
            "{file} is not as it was; the grader has it as it was"
        ));
    }
    Ok(edits)
}

/// Checks again whenever a file of the step is saved, until Ctrl-C. A check
/// leaves it noted only, so that it is asked for here.
pub fn watch() -> anyhow::Result<bool> {
    let lab = Lab::of_student()?;
    let mut seen = None;
    while !sandbox::is_interrupted() {
        let now = latest(&checkout().join(&lab.step))?;
        if seen != Some(now) {
            seen = Some(now);
            // Clears the screen; see console_codes(4).
            print!("\x1b[H\x1b[2J");
            if let Err(error) = main(false) {
                println!("{error:#}");
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    Ok(true)
}

/// When a file in `directory`, or below it, was last written.
fn latest(directory: &Path) -> anyhow::Result<std::time::SystemTime> {
    let mut latest = std::time::SystemTime::UNIX_EPOCH;
    let entries = fs::read_dir(directory)
        .with_context(|| format!("opendir({directory:?})"))?;
    for entry in entries {
        let entry = entry?;
        // An editor may have just replaced it.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let time = match metadata.is_dir() {
            true => self::latest(&entry.path())?,
            false => metadata.modified()?,
        };
        latest = latest.max(time);
    }
    Ok(latest)
}

/// Shows one more hint for a hole: the first that is still empty, or `name`.
pub fn hint(name: Option<&str>) -> anyhow::Result<bool> {
    let lab = Lab::of_student()?;
    let sources = lab.sources(checkout())?;
    let mut holes = lab.holes.iter();
    let hole = match name {
        Some(name) => holes
            .find(|hole| hole.name == name)
            .with_context(|| format!("there is no hole {name}"))?,
        None => match holes.find(|hole| is_empty(&hole.name, &sources)) {
            Some(hole) => hole,
            None => {
                println!(
                    "No hole is empty; `cargo lab hint HOLE` helps with one."
                );
                return Ok(true);
            }
        },
    };
    let shown = checkout().join(".lab/hints").join(&hole.name);
    let count: usize = fs::read_to_string(&shown)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    ensure!(
        !hole.hints.is_empty(),
        "there are no hints for {}",
        hole.name
    );
    let count = (count + 1).min(hole.hints.len());
    for (index, hint) in hole.hints[..count].iter().enumerate() {
        println!("{} ({}/{}): {hint}", hole.name, index + 1, hole.hints.len());
    }
    if let Some(parent) = shown.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&shown, count.to_string())?;
    Ok(true)
}
