//! Runs the checks of a lab on a program.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    build::{Build, LIMIT, checkout, target_of},
    description::{Check, Lab},
    limits, sandbox,
};

/// For all scripts: `start ARGUMENTS` starts the program in the background, with
/// its output in `out`, and waits for the first line of that; `finish` gives it
/// a line to read, waits for its end, and shows what it has said.
///
/// The virtual machine has few tools, and an image without BusyBox has no
/// others: see `tests/vm/prepare`, and `TOOLS` in `common/src/rootfs/tools.rs`.
const FUNCTIONS: &str = r#"
start() {
    mknod in p
    "$STEP" "$@" <in >out &
    pid=$!
    exec 3>in
    while [ ! -s out ] && kill -0 $pid 2>/dev/null; do sleep 0.02; done
}
finish() {
    echo >&3
    exec 3>&-
    wait $pid
    cat out
}
"#;

/// So many checks of a program may take too long.
const PATIENCE: usize = 2;

/// What became of a check.
#[derive(Clone, Deserialize, Serialize)]
pub struct Outcome {
    /// Whether it has passed.
    pub verdict: Verdict,
    /// For the student: what was expected, what came.
    pub says: String,
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
            took_too_long: false,
        }
    }

    /// One that has not passed.
    pub fn failed(says: impl Into<String>) -> Outcome {
        Outcome::new(Verdict::Failed, says)
    }

    /// What it earns.
    pub fn points(&self, check: &Check) -> u32 {
        match self.verdict {
            Verdict::Passed => check.points,
            _ => 0,
        }
    }

    /// As courses know it: `== claim ==  OK (10/10)`.
    pub fn print(&self, check: &Check) {
        let (name, max) = (&check.name, check.points);
        match self.verdict {
            Verdict::Passed => println!("== {name} ==  OK ({max}/{max})"),
            Verdict::Failed => println!("== {name} ==  FAIL (0/{max})"),
            Verdict::NotRun => println!("== {name} ==  NOT RUN (-/{max})"),
        }
        for line in self.says.lines() {
            println!("    {line}");
        }
    }
}

/// What a check's script may use, and what differs from student to student: so
/// that the transcript of one is not that of another.
pub fn values(student: &str) -> Vec<(String, String)> {
    // FNV-1a, which every other tool can compute as well.
    let hash = student
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    let tens = 3 + hash % 3;
    let pids = 12 + hash / 7 % 12;
    let value = |name: &str, value: String| (name.to_owned(), value);
    vec![
        value("NAME", format!("box-{:04x}", hash >> 48)),
        value("TEXT", format!("{:08x}", hash & 0xffff_ffff)),
        value("MIB", format!("{}", 10 * tens)),
        value("DOTS", (0..tens).map(|_| '.').collect()),
        value("PIDS", pids.to_string()),
        value("FORKS", (pids - 2).to_string()),
    ]
}

/// Runs checks on a program, one whenever the next outcome is asked for.
///
/// A program that had to be ended twice is not tried any more: its checks could
/// take minutes, only to say the same.
pub fn try_all<'a>(
    program: &'a Path,
    checks: &'a [Check],
    values: &'a [(String, String)],
) -> impl Iterator<Item = Outcome> + 'a {
    let mut ended = 0;
    checks.iter().map(move |check| {
        if ended == PATIENCE {
            let says = "not tried: the program had to be ended twice\n";
            return Outcome::failed(says);
        }
        let outcome = try_one(program, check, values);
        ended += usize::from(outcome.took_too_long);
        outcome
    })
}

fn try_one(
    program: &Path,
    check: &Check,
    values: &[(String, String)],
) -> Outcome {
    if let (true, Some(why)) = (check.limits, limits::why_not()) {
        return Outcome::new(Verdict::NotRun, why);
    }
    let script = format!("{FUNCTIONS}{}", check.run);
    let finished = match sandbox::run(program, &script, values) {
        Ok(finished) => finished,
        Err(error) => {
            let says = format!(
                "{error:#}\nin the whole workspace, `cargo run -p step06-full \
                 -- doctor` says what to change; a virtual machine can always \
                 run it"
            );
            return Outcome::new(Verdict::NotRun, says);
        }
    };
    let mut expected = check.expect.clone();
    for (name, value) in values {
        expected = expected.replace(&format!("${name}"), value);
    }
    let (expected, got) = (expected.trim(), finished.stdout.trim());
    if expected == got && finished.trouble.is_none() {
        return Outcome::new(Verdict::Passed, "");
    }
    let mut says = format!("expected: {}\n", in_one_line(expected));
    says += &format!("got:      {}\n", in_one_line(got));
    match empty_hole(&finished.stderr) {
        Some(hole) => {
            says += &format!("the hole `{hole}` is still empty\n");
        }
        None => {
            if let Some(trouble) = &finished.trouble {
                says += &format!("trouble:  {trouble}\n");
            }
            // A script that runs the program twice may hear the same twice.
            let mut heard = BTreeSet::new();
            let lines = finished.stderr.lines();
            let telling = lines.filter(|line| {
                !line.starts_with("note: run with")
                    && !line.trim().is_empty()
                    && heard.insert(*line)
            });
            for line in telling.take(6) {
                says += &format!("it said:  {line}\n");
            }
            says += &format!("hint:     {}\n", check.hint);
        }
    }
    Outcome {
        took_too_long: finished.took_too_long,
        ..Outcome::failed(says)
    }
}

/// Which hole has panicked.
fn empty_hole(stderr: &str) -> Option<&str> {
    let (_, rest) = stderr.split_once("not yet implemented: the hole `")?;
    rest.split('`').next()
}

fn in_one_line(text: &str) -> String {
    match text.is_empty() {
        true => "nothing".to_owned(),
        false => text.lines().collect::<Vec<_>>().join(" | "),
    }
}

/// The student's command: builds the workspace and prints the score. True for
/// full marks.
pub fn main() -> anyhow::Result<bool> {
    let lab = Lab::of_student()?;
    let top = checkout();
    let build = Build {
        directory: top,
        package: &lab.step,
        target: &target_of(top),
        limit: LIMIT,
    };
    let program = build.run()?;
    let values = values("");
    let (mut score, mut not_run) = (0, 0);
    let outcomes = try_all(&program, &lab.checks, &values);
    for (check, outcome) in lab.checks.iter().zip(outcomes) {
        outcome.print(check);
        score += outcome.points(check);
        if outcome.verdict == Verdict::NotRun {
            not_run += check.points;
        }
    }
    if let Err(error) = lab.find_holes(&lab.sources(top)?) {
        println!(
            "Warning: your holes can't be graded one by one any more: {error:#}"
        );
    }
    let all = lab.points();
    match not_run {
        0 => println!("Score: {score}/{all}"),
        _ => println!(
            "Score: {score}/{}, and {not_run} points more that can't be earned \
             on this machine",
            all - not_run
        ),
    }
    Ok(score == all)
}

/// Checks again whenever a file of the step is saved.
pub fn watch() -> anyhow::Result<bool> {
    let lab = Lab::of_student()?;
    let mut seen = None;
    loop {
        let now = latest(&checkout().join(&lab.step))?;
        if seen != Some(now) {
            seen = Some(now);
            // Clears the screen; see console_codes(4).
            print!("\x1b[H\x1b[2J");
            if let Err(error) = main() {
                println!("{error:#}");
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
}

/// When a file in `directory`, or below it, was last written.
fn latest(directory: &Path) -> anyhow::Result<std::time::SystemTime> {
    let mut latest = std::time::SystemTime::UNIX_EPOCH;
    let entries = std::fs::read_dir(directory)
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
    let is_empty = |name: &str| {
        let todo = format!("todo!(\"the hole `{name}`\")");
        sources.values().any(|text| text.contains(&todo))
    };
    let mut holes = lab.holes.iter();
    let hole = match name {
        Some(name) => holes
            .find(|hole| hole.name == name)
            .with_context(|| format!("there is no hole {name}"))?,
        None => match holes.find(|hole| is_empty(&hole.name)) {
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
    let count: usize = std::fs::read_to_string(&shown)
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
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&shown, count.to_string())?;
    Ok(true)
}
