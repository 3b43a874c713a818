//! Submissions whose grade is known: right ones that do it in another way, and
//! wrong ones, each with the holes that it must lose. They are in
//! `tests/lab/grader/submissions`.
//!
//! All of a lab are built as one program, in which a variable decides whose code
//! runs in which hole: so a lab takes one build, however many there are. The
//! mutants are submissions as well, and those are built one by one whose mistake
//! is outside of the holes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use lab::{
    anywhere,
    bench::random_name,
    build::checkout,
    check::{Outcome, Verdict},
    description::{Check, Hole, Lab, Sources},
    files::read,
    holes::{add_alternatives, edited_outside, in_hole},
    judge::Score,
    lines::lines,
    plan::{Job, Plan},
};
use serde::Deserialize;

use crate::{variant::Task, workshop::Workshop};

/// A submission, as its file describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    /// What is different about it, in a sentence.
    why: String,
    /// The holes that are wrong. Without any it is right.
    #[serde(default)]
    loses: Vec<String>,
    /// What it has in its holes; in the others it has the solution.
    holes: BTreeMap<String, String>,
    /// What it adds to files.
    #[serde(default)]
    add: BTreeMap<String, String>,
}

/// A submission whose grade is known.
struct Submission {
    name: String,
    /// The holes that are wrong; nothing is known of a mutant but that it loses.
    loses: Option<Vec<String>>,
    /// What it has in its holes.
    holes: BTreeMap<String, String>,
    add: BTreeMap<String, String>,
}

/// A mutant whose mistake is outside of the holes: its name, and its sources.
type Outside = (String, Sources);

/// What a submission has got.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) points: u32,
    /// What a student would read.
    pub(crate) says: String,
    /// What should be otherwise.
    pub(crate) wrong: Option<String>,
}

/// What has become of all that is tried of a lab.
pub(crate) struct Rows {
    pub(crate) submissions: Vec<Row>,
    pub(crate) variants: Vec<VariantRow>,
}

/// Grades all submissions of a lab, its mutants, and the solution of each of its
/// variants as a solution of each. The first of `tasks` is the lab itself.
///
/// # Errors
/// One of them can't be read or built.
pub(crate) fn grade_all(
    tasks: &[Task],
    workshop: &Workshop,
) -> anyhow::Result<Rows> {
    let itself = tasks.first().context("no lab")?;
    let (lab, solution) = (&itself.lab, itself.solution()?);
    let mut all = described(lab)?;
    let (inside, outside) = mutants(lab, &solution)?;
    all.extend(inside);
    // Variants differ in holes as well, and in what the documentation says.
    let mut sources = solution;
    let tokens: Vec<String> = tasks.iter().map(|_| random_name()).collect();
    for hole in &lab.holes {
        let texts = tasks.iter().zip(&tokens).filter_map(|(task, token)| {
            let variant = task.variant.as_ref()?;
            let text = variant.holes.get(&hole.name)?;
            Some((format!("{token}.{}", hole.name), text.as_str()))
        });
        let texts: Vec<(String, &str)> = texts.collect();
        let texts: Vec<(&str, &str)> = texts
            .iter()
            .map(|(token, it)| (token.as_str(), *it))
            .collect();
        for place in &hole.places {
            add_alternatives(lab, hole, place, &mut sources, &texts)?;
        }
    }
    let (mut submissions, program) = together(lab, sources, workshop, &all)?;
    let variants = grade_variants(tasks, &tokens, &program)?;
    submissions.extend(one_by_one(lab, workshop, outside)?);
    Ok(Rows {
        submissions,
        variants,
    })
}

fn described(lab: &Lab) -> anyhow::Result<Vec<Submission>> {
    let directory = directory().join(&lab.step);
    let mut all = Vec::new();
    for path in files(&directory)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let found: Described = toml::from_str(&read(&path)?)
            .with_context(|| format!("reading {path:?}"))?;
        let kind = if found.loses.is_empty() {
            "right"
        } else {
            "wrong"
        };
        ensure!(
            name.starts_with(kind),
            "{path:?} is {kind}: its name says so"
        );
        ensure!(found.why.ends_with('.'), "{path:?}: `why` is no sentence");
        for hole in found.holes.keys().chain(&found.loses) {
            let known = lab.holes.iter().any(|it| it.name == *hole);
            ensure!(known, "{path:?} is about {hole:?}, which is no hole");
        }
        all.push(Submission {
            name: name.into_owned(),
            loses: Some(found.loses),
            holes: found.holes,
            add: found.add,
        });
    }
    let count =
        |kind: &str| all.iter().filter(|it| it.name.starts_with(kind)).count();
    for kind in ["right", "wrong"] {
        ensure!(count(kind) >= 4, "{}: too few that are {kind}", lab.step);
    }
    Ok(all)
}

fn directory() -> PathBuf {
    checkout().join("tests/lab/grader/submissions")
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("opendir({directory:?})"))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

/// The doctor of step 6.
const DOCTOR: &str = "step06-full/src/doctor";

/// The mutants of the step: those whose mistake is in holes, and what the
/// sources of the others are.
fn mutants(
    lab: &Lab,
    solution: &Sources,
) -> anyhow::Result<(Vec<Submission>, Vec<Outside>)> {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let prefix = &lab.step[..6];
    for path in files(&checkout().join("tests/mutants"))? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_patch = path.extension().is_some_and(|it| it == "patch");
        if !is_patch || !name.starts_with(prefix) {
            continue;
        }
        let text = read(&path)?;
        let hunks = hunks(&text);
        let own = format!("{}/src/", lab.step);
        // That can be seen on another machine only.
        let elsewhere = |line: &str| {
            line == "As: a plain user" || line == "Needs: cgroups of version 2"
        };
        if text.lines().any(elsewhere) {
            continue;
        }
        // Of a submission nothing counts but the step, and no lab is about the
        // doctor.
        let counts =
            |file: &str| file.starts_with(&own) && !file.starts_with(DOCTOR);
        if !hunks.iter().all(|(file, ..)| counts(file)) {
            continue;
        }
        let sources = apply(&hunks, solution)
            .with_context(|| format!("the mutant {name}"))?;
        let name = format!("mutant {name}");
        match changed_holes(lab, solution, &sources)? {
            Some(holes) => inside.push(Submission {
                name,
                loses: None,
                holes,
                add: BTreeMap::new(),
            }),
            None => outside.push((name, sources)),
        }
    }
    Ok((inside, outside))
}

/// A file, what is there, and what comes in its place.
type Hunk<'a> = (&'a str, Vec<&'a str>, Vec<&'a str>);

fn hunks(patch: &str) -> Vec<Hunk<'_>> {
    let mut hunks: Vec<Hunk<'_>> = Vec::new();
    let mut file = "";
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            file = path;
        } else if line.starts_with("--- a/") {
            file = "";
        } else if line.starts_with("@@") {
            hunks.push((file, Vec::new(), Vec::new()));
        } else if let Some((_, before, after)) = hunks.last_mut() {
            let (mark, rest) = line.split_at(line.len().min(1));
            if mark != "+" {
                before.push(rest);
            }
            if mark != "-" {
                after.push(rest);
            }
        }
    }
    hunks
}

fn apply(hunks: &[Hunk<'_>], solution: &Sources) -> anyhow::Result<Sources> {
    let mut sources = solution.clone();
    for (file, before, after) in hunks {
        if !sources.contains_key(*file) {
            let text = read(&checkout().join(file))?;
            sources.insert((*file).to_owned(), text);
        }
        let text = sources.get_mut(*file).context("it was put there")?;
        let place = lines(text, before)?;
        text.replace_range(place, &(after.join("\n") + "\n"));
    }
    Ok(sources)
}

/// What is in the holes that are another text than in the solution; `None` if
/// something else is, too.
fn changed_holes(
    lab: &Lab,
    solution: &Sources,
    sources: &Sources,
) -> anyhow::Result<Option<BTreeMap<String, String>>> {
    for file in sources.keys() {
        let same = match solution.contains_key(file) {
            true => edited_outside(lab, file, sources, solution),
            false => return Ok(None),
        };
        // Of lines that are changed it can't be told any more where they are.
        if !matches!(same, Ok(None)) {
            return Ok(None);
        }
    }
    let mut changed = BTreeMap::new();
    for hole in &lab.holes {
        let ours = in_hole(lab, hole, solution)?;
        let own = in_hole(lab, hole, sources)?;
        if own != ours {
            changed.insert(hole.name.clone(), own);
        }
    }
    Ok(Some(changed))
}

/// Grades submissions that differ in holes only, by one program; returns that,
/// too.
fn together(
    lab: &Lab,
    mut sources: Sources,
    workshop: &Workshop,
    all: &[Submission],
) -> anyhow::Result<(Vec<Row>, PathBuf)> {
    let tokens: Vec<String> = all.iter().map(|_| random_name()).collect();
    // Of one submission there may be a hole that is right: each hole has a token
    // of its own.
    let token =
        |index: usize, hole: &Hole| format!("{}.{}", tokens[index], hole.name);
    for hole in &lab.holes {
        let own: Vec<(String, &str)> = all
            .iter()
            .enumerate()
            .filter_map(|(index, submission)| {
                let text = submission.holes.get(&hole.name)?;
                Some((token(index, hole), text.as_str()))
            })
            .collect();
        let own: Vec<(&str, &str)> =
            own.iter().map(|(it, text)| (it.as_str(), *text)).collect();
        for place in &hole.places {
            add_alternatives(lab, hole, place, &mut sources, &own)?;
        }
    }
    for submission in all {
        for (file, text) in &submission.add {
            let file = format!("{}/{file}", lab.step);
            let source = sources.get_mut(&file);
            let source = source.with_context(|| format!("no {file}"))?;
            *source += text;
        }
    }
    let program = build(lab, workshop, &sources)?;

    // As `lab::judge`: the whole program, and each of its holes alone. Where a
    // hole has the solution, alone it is right.
    let (mut jobs, mut whose) = (Vec::new(), Vec::new());
    for (index, submission) in all.iter().enumerate() {
        let is_own = |it: &&Hole| submission.holes.contains_key(&it.name);
        let own: Vec<&Hole> = lab.holes.iter().filter(is_own).collect();
        let mut add = |holes: &[&Hole]| {
            let filled = holes.iter().map(|it| token(index, it));
            let names: Vec<&str> =
                holes.iter().map(|it| it.name.as_str()).collect();
            let checks = lab.checks.iter();
            let checks = checks.filter(|it| names.contains(&it.hole.as_str()));
            let checks: Vec<Check> = checks.cloned().collect();
            whose.push((index, checks.clone()));
            jobs.push(Job {
                program: program.clone(),
                filled: filled.collect::<Vec<_>>().join(","),
                checks,
            });
        };
        add(&own);
        if own.len() > 1 {
            own.iter().for_each(|it| add(&[*it]));
        }
    }
    let found = anywhere::run(Plan { jobs })?;
    let right = || Outcome::new(Verdict::Passed, "");
    let mut rows = Vec::new();
    for (index, submission) in all.iter().enumerate() {
        let mut outcomes: Vec<Outcome> =
            lab.checks.iter().map(|_| right()).collect();
        for hole in submission.holes.keys() {
            let tries = whose.iter().zip(&found).filter(|((it, checks), _)| {
                *it == index && checks.iter().any(|it| it.hole == *hole)
            });
            let tries = tries.map(|((_, checks), outcomes)| {
                let pairs = checks.iter().zip(outcomes);
                pairs.filter(|(check, _)| check.hole == *hole).collect()
            });
            let tries: Vec<Vec<(&Check, &Outcome)>> = tries.collect();
            let is_right = |all: &&Vec<(&Check, &Outcome)>| {
                all.iter().all(|(_, it)| it.verdict != Verdict::Failed)
            };
            let best = tries.iter().find(is_right).or(tries.last());
            for (check, outcome) in best.into_iter().flatten() {
                let at = lab.checks.iter().position(|it| it.name == check.name);
                outcomes[at.context("it is of this lab")?] = (*outcome).clone();
            }
        }
        rows.push(row(lab, submission, &outcomes));
    }
    Ok((rows, program))
}

/// What the holes of one variant have got in another one.
pub(crate) struct VariantRow {
    pub(crate) name: String,
    pub(crate) points: u32,
    /// What the holes are worth that are different in the variant.
    pub(crate) of: u32,
    /// What should be otherwise.
    pub(crate) wrong: Option<String>,
}

/// Tries the solution of each variant as a solution of each, and of the lab itself.
fn grade_variants(
    tasks: &[Task],
    tokens: &[String],
    program: &Path,
) -> anyhow::Result<Vec<VariantRow>> {
    let own = |task: &Task| {
        let holes = task.variant.as_ref().map(|it| it.holes.clone());
        holes.unwrap_or_default()
    };
    // What decides that a hole has the text of a variant.
    let fill = |number: usize, hole: &str| {
        let has = own(&tasks[number]).contains_key(hole);
        has.then(|| format!("{}.{hole}", tokens[number]))
    };
    let checks_of = |task: &Task, hole: &str| -> Vec<Check> {
        let checks = task.lab.checks.iter();
        checks.filter(|it| it.hole == hole).cloned().collect()
    };
    // As `lab::judge`: each hole in the whole program, and alone.
    let (mut jobs, mut whose) = (Vec::new(), Vec::new());
    for (number, task) in tasks.iter().enumerate() {
        for (other, another) in tasks.iter().enumerate() {
            // The lab itself is different in what the variant has.
            let holes = own(if number == 0 { another } else { task });
            for hole in holes.keys() {
                let whole = holes.keys().map(|it| fill(other, it)).collect();
                let alone = |it: &String| match it == hole {
                    true => fill(other, it),
                    false => fill(number, it),
                };
                let alone: Vec<_> = holes.keys().map(alone).collect();
                let mut ways: Vec<Vec<Option<String>>> = vec![whole];
                if ways[0] != alone {
                    ways.push(alone);
                }
                for filled in ways {
                    let filled: Vec<String> =
                        filled.into_iter().flatten().collect();
                    whose.push((number, other, hole.clone()));
                    jobs.push(Job {
                        program: program.to_owned(),
                        filled: filled.join(","),
                        checks: checks_of(task, hole),
                    });
                }
            }
        }
    }
    let found = anywhere::run(Plan { jobs })?;
    // One of the ways is enough.
    let mut best: BTreeMap<(usize, usize, String), Vec<Outcome>> =
        BTreeMap::new();
    for (key, outcomes) in whose.into_iter().zip(found) {
        let is_right = outcomes.iter().all(|it| it.verdict != Verdict::Failed);
        if is_right || !best.contains_key(&key) {
            best.insert(key, outcomes);
        }
    }
    let mut rows: BTreeMap<(usize, usize), VariantRow> = BTreeMap::new();
    for ((number, other, hole), outcomes) in best {
        let checks = checks_of(&tasks[number], &hole);
        let is_own = number == other;
        let row = rows.entry((number, other)).or_insert_with(|| VariantRow {
            name: match (is_own, other) {
                (true, _) => format!("variant {number}"),
                _ if number == 0 => {
                    format!("the lab itself by variant {other}")
                }
                (_, 0) => format!("variant {number} by the lab itself"),
                _ => format!("variant {number} by {other}"),
            },
            points: 0,
            of: 0,
            wrong: None,
        });
        let points: u32 = checks.iter().map(|it| it.points).sum();
        row.of += points;
        let failed = outcomes.iter().find(|it| it.verdict == Verdict::Failed);
        let passed = checks.iter().zip(&outcomes);
        let passed = passed.filter(|(_, it)| it.verdict == Verdict::Passed);
        let passed: u32 = passed.map(|(check, _)| check.points).sum();
        row.points += if failed.is_none() { passed } else { 0 };
        let wrong = match (is_own, failed) {
            (true, Some(outcome)) => format!("{hole}: {}\n", outcome.text()),
            // A variant that asks for more may be right for the lab as well.
            (false, None) if passed > 0 && number > 0 => {
                format!("{hole} earns its points\n")
            }
            _ => continue,
        };
        row.wrong.get_or_insert_default().push_str(&wrong);
    }
    Ok(rows.into_values().collect())
}

fn build(
    lab: &Lab,
    workshop: &Workshop,
    sources: &Sources,
) -> anyhow::Result<PathBuf> {
    for (file, text) in sources {
        workshop.write(file, text)?;
    }
    let built = workshop.build_students(&lab.step);
    for file in sources.keys() {
        workshop.write(file, &workshop.original(file)?)?;
    }
    Ok(built?.program)
}

/// What a submission has got, and whether it should have got that.
fn row(lab: &Lab, submission: &Submission, outcomes: &[Outcome]) -> Row {
    let score = Score { lab, outcomes };
    let mut wrong = String::new();
    for hole in submission.holes.keys() {
        let loses = match &submission.loses {
            Some(loses) => loses.contains(hole),
            None => true,
        };
        match score.is_right(hole) {
            Some(true) if loses => {
                wrong += &format!("{hole} is wrong, and earns its points\n");
            }
            Some(false) if !loses => wrong += &score.text_of(hole),
            _ => {}
        }
    }
    Row {
        name: submission.name.clone(),
        points: score.total(),
        says: submission
            .holes
            .keys()
            .map(|it| score.diagnosis(it))
            .collect(),
        wrong: (!wrong.is_empty()).then_some(wrong),
    }
}

/// If it is set, the mutants are tried as well of which it is known that they do
/// not show.
const ALSO_UNSEEN: &str = "LAB_ALSO_UNSEEN";

/// Grades mutants whose mistake is outside of the holes: it has to show all the
/// same, where it can.
fn one_by_one(
    lab: &Lab,
    workshop: &Workshop,
    mutants: Vec<Outside>,
) -> anyhow::Result<Vec<Row>> {
    let unseen: BTreeMap<String, String> =
        toml::from_str(&read(&directory().join("unseen.toml"))?)?;
    let (mut names, mut jobs, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let place = tempfile::tempdir()?;
    for (name, sources) in mutants {
        let reason = unseen.get(name.trim_start_matches("mutant "));
        // It would take a build to see nothing.
        if let Some(reason) = reason
            && std::env::var_os(ALSO_UNSEEN).is_none()
        {
            rows.push(Row {
                name,
                points: lab.points(),
                says: format!("    not to be seen: {reason}\n"),
                wrong: None,
            });
            continue;
        }
        let built =
            build(lab, workshop, &sources).with_context(|| name.clone())?;
        // The next one is built in its place.
        let program = place.path().join(names.len().to_string());
        fs::create_dir(&program)?;
        let program = program.join(&lab.step);
        fs::copy(built, &program)?;
        jobs.push(Job {
            program,
            filled: String::new(),
            checks: lab.checks.clone(),
        });
        names.push((name, reason));
    }
    // All at once: some may have to be tried in a virtual machine.
    let found = anywhere::run(Plan { jobs })?;
    for ((name, reason), outcomes) in names.into_iter().zip(found) {
        let score = Score {
            lab,
            outcomes: &outcomes,
        };
        let lost = score.total() < lab.points() - score.not_run();
        let wrong = match (lost, reason) {
            (false, None) => Some("it is wrong, and loses nothing".to_owned()),
            (true, Some(_)) => Some("it is seen, and listed as unseen".into()),
            _ => None,
        };
        let says = lab.holes.iter().map(|it| score.diagnosis(&it.name));
        rows.push(Row {
            name,
            points: score.total(),
            says: says.collect(),
            wrong,
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_read_as_replacements() {
        let patch = "Why: x.\n\n--- a/step/src/lib.rs\n+++ b/step/src/lib.rs\n\
                     @@ -1,2 +1,2 @@\n one\n-two\n+three\n";
        let expected =
            ("step/src/lib.rs", vec!["one", "two"], vec!["one", "three"]);
        assert_eq!(hunks(patch), [expected]);
    }

    #[test]
    fn submissions_fit_the_labs() {
        for number in 1..=ground::STEPS.len() {
            let lab = Lab::load(number).expect("a lab");
            described(&lab).expect("its submissions");
            let solution = lab.sources(checkout()).expect("the solution");
            mutants(&lab, &solution).expect("its mutants");
        }
    }

    /// What nobody lists is forgotten.
    #[test]
    fn only_mutants_are_listed_as_unseen() {
        let path = directory().join("unseen.toml");
        let text = read(&path).expect("a list");
        let unseen: BTreeMap<String, String> =
            toml::from_str(&text).expect("TOML");
        for name in unseen.keys() {
            let patch = format!("tests/mutants/{name}.patch");
            assert!(checkout().join(patch).exists(), "{name}");
        }
    }
}
