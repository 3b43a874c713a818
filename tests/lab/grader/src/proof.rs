//! Proves that the labs grade rightly. CI runs it.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use anyhow::{Context, bail, ensure};
use ground::STEPS;
use lab::{
    anywhere,
    build::{cargo, checkout, target_of},
    description::{Lab, Sources},
    holes::{all_removed, fill, mixed, starter},
    judge::Score,
    plan::{Job, Plan},
    sandbox, sealed,
};

use crate::{
    grade::{Grade, grade},
    handout, pages,
    start::make,
    submissions,
    variant::{self, Task},
    workshop::Workshop,
};

/// For each lab: the starter compiles, scores nothing, and has nothing of the
/// solution in it; each hole, filled alone, earns exactly its points; the
/// solution earns them all. True if all of that holds.
pub fn main(steps: &[usize]) -> anyhow::Result<bool> {
    let all: Vec<usize> = (1..=STEPS.len()).collect();
    let steps = if steps.is_empty() { &all } else { steps };
    let begin = Instant::now();
    let mut good = match nothing_to_see() {
        Ok(()) => true,
        Err(error) => {
            println!("sandbox: {error:#}");
            false
        }
    };
    println!("lab  starter  holes  points");
    for step in steps {
        ensure!(!sandbox::is_interrupted(), "interrupted");
        let proven = prove(*step).and_then(|row| {
            println!("{row}");
            prove_submissions(*step)
        });
        match proven {
            Ok(as_it_should_be) => good &= as_it_should_be,
            Err(error) => {
                good = false;
                println!("lab {step}: {error:#}");
            }
        }
    }
    println!("in {} s", begin.elapsed().as_secs());
    Ok(good)
}

fn prove(step: usize) -> anyhow::Result<String> {
    let task = Task::load(step, 0)?;
    let lab = &task.lab;
    // Always the same place, so that Cargo builds little anew.
    let place = target_of(checkout()).join("lab");
    let student = place.join("student");
    if student.exists() {
        fs::remove_dir_all(&student)?;
    }
    make(&task, &student)?;
    let solution = task.solution()?;
    // Where there is no mdBook no hand-out can be made, either.
    let has_book = handout::mdbook().is_ok();
    if has_book {
        handout::render(&task, &student)?;
    }
    let telling = nothing_leaks(lab, &solution, &student)?;
    if has_book {
        let telling: Vec<&str> = telling.iter().map(String::as_str).collect();
        pages::check(&student.join("book"), &telling)?;
    }

    // As the student builds it: the step, and what checks it.
    let check = cargo(&student)
        .args(["check", "--quiet", "--locked", "--offline", "--workspace"])
        .env("CARGO_TARGET_DIR", place.join("target-of-student"))
        .output()?;
    let says = String::from_utf8_lossy(&check.stderr);
    ensure!(check.status.success(), "the starter: {says}");

    let starter = lab.sources(&student)?;
    lab.find_holes(&starter)?;
    let filled = fill(lab, &starter, &solution, |_| true)?;
    ensure!(
        sealed::open(&student)? == filled,
        "what is sealed is not the solution"
    );
    let changed = sealed::changed_files(&student)?;
    ensure!(changed.is_empty(), "{changed:?} were changed by a build");

    let workshop = Workshop::open()?;
    let of_starter = grade(&student, Task::load(step, 0)?, &workshop)?;
    let points = of_starter.score().total();
    ensure!(points == 0, "the starter scores {points}");
    let not_here = each_hole_alone(lab, &starter, &solution, &workshop)?;
    for (file, text) in &filled {
        fs::write(student.join(file), text)?;
    }
    let of_solution = grade(&student, Task::load(step, 0)?, &workshop)?;
    all_right(&of_solution)?;
    ensure!(
        of_solution.remarks.is_empty(),
        "the solution: {}",
        of_solution.remarks.join("\n")
    );
    drop(workshop);
    let row = format!(
        "{step:>3}  {points:>7}  {:>5}  {:>6}{}",
        lab.holes.len(),
        lab.points(),
        match not_here.is_empty() {
            true => String::new(),
            false => format!("  not here: {}", not_here.join(", ")),
        }
    );
    Ok(row)
}

/// Grades the submissions whose grade is known, and the solutions of the lab's
/// variants: each earns all points of its own holes, and in another variant it
/// loses them. Shows a table. True if all is as it should be.
fn prove_submissions(step: usize) -> anyhow::Result<bool> {
    let count = variant::count(&Lab::load(step)?)?;
    let tasks = (0..=count).map(|number| Task::load(step, number));
    let tasks: Vec<Task> = tasks.collect::<anyhow::Result<_>>()?;
    for task in &tasks[1..] {
        let student = tempfile::tempdir()?;
        make(task, student.path())?;
        nothing_leaks(&task.lab, &task.solution()?, student.path())?;
    }
    let workshop = Workshop::open()?;
    let rows = submissions::grade_all(&tasks, &workshop)?;
    let points = tasks[0].lab.points();
    let mut good = true;
    let mut wrong = |wrong: &Option<String>| {
        let Some(wrong) = wrong else { return false };
        println!("    BUT: {}", wrong.trim_end().replace('\n', "\n    "));
        good = false;
        true
    };
    for row in &rows.submissions {
        println!("{:>7}/{points}  {}", row.points, row.name);
        if !wrong(&row.wrong) && std::env::var_os("LAB_SAYS").is_some() {
            print!("{}", row.says);
        }
    }
    for row in &rows.variants {
        println!("{:>7}/{}  {}", row.points, row.of, row.name);
        wrong(&row.wrong);
    }
    Ok(good)
}

/// Each hole filled alone earns its points, and empty it costs them: by one
/// program that has both in it. Returns the holes that can't be tried here.
fn each_hole_alone(
    lab: &Lab,
    starter: &Sources,
    solution: &Sources,
    workshop: &Workshop,
) -> anyhow::Result<Vec<String>> {
    let mixed = mixed(lab, starter, solution)?;
    for (file, text) in &mixed.sources {
        workshop.write(file, text)?;
    }
    let program = workshop.build_students(&lab.step)?.program;
    let job = |filled: String| Job {
        program: program.clone(),
        filled,
        checks: lab.checks.clone(),
    };
    let mut jobs = vec![job(mixed.all_but(""))];
    jobs.extend(lab.holes.iter().map(|it| job(mixed.all_but(&it.name))));
    let mut found = anywhere::run(Plan { jobs })?.into_iter();
    let outcomes = found.next().context("several jobs were run")?;
    let complete = Score {
        lab,
        outcomes: &outcomes,
    };
    let mut not_here = Vec::new();
    for (hole, outcomes) in lab.holes.iter().zip(found) {
        let name = &hole.name;
        ensure!(lab.points_of(name) > 0, "{name} is worth nothing");
        let with_a_hole = Score {
            lab,
            outcomes: &outcomes,
        };
        match complete.is_right(name) {
            Some(true) => {}
            Some(false) => bail!("{}", complete.text_of(name)),
            None => {
                not_here.push(name.clone());
                continue;
            }
        }
        let empty = with_a_hole.earned(name);
        ensure!(empty == 0, "the empty hole {name} earns {empty} points");
        let says = with_a_hole.diagnosis(name);
        ensure!(
            says.contains("is still empty"),
            "the hole {name} is empty, but a student reads: {says}"
        );
    }
    Ok(not_here)
}

/// All that could be tried is right.
fn all_right(grade: &Grade) -> anyhow::Result<()> {
    let score = grade.score();
    let expected = grade.lab.points() - score.not_run();
    if score.total() != expected {
        let holes = grade.lab.holes.iter().map(|it| score.text_of(&it.name));
        bail!("the solution fails:\n{}", holes.collect::<String>());
    }
    Ok(())
}

/// Looks, from where a student's program runs, for the solution: the sources,
/// and what was built of them.
fn nothing_to_see() -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let places = [
        checkout().join("Cargo.toml"),
        target_of(checkout()).join("lab"),
        file.path().to_owned(),
    ];
    let mut script = String::new();
    for place in places {
        let parent = place.parent().unwrap_or(&place).display();
        let place = place.display();
        script += &format!(
            "ls -d {place}; umount {parent}; ls -d {place}\n\
             umount -l {parent}; ls -d {place} /proc/1/cwd/{place}\n\
             unshare --user --mount sh -c 'umount {parent}; ls -d {place}'\n"
        );
    }
    script += "ls -d /proc/1/cwd/Cargo.toml; echo end";
    let found = sandbox::run(Path::new("/bin/true"), &script, &[])?.stdout;
    ensure!(found == "end\n", "a program can see {found}");
    Ok(())
}

/// What is complete in a workspace, beside the steps below.
const OURS: [&str; 3] = ["common", "tests/ground/src", "tests/lab/src"];

/// Looks in all that a student gets for lines that were taken out, and returns
/// those that would give something away.
fn nothing_leaks(
    lab: &Lab,
    solution: &Sources,
    student: &Path,
) -> anyhow::Result<Vec<String>> {
    let starter = starter(lab, solution)?;
    // What is also elsewhere in the step, or says nothing, gives nothing away.
    let mut elsewhere: Vec<String> = starter.values().cloned().collect();
    search(&checkout().join(&lab.step), &mut |path, text| {
        let with_holes = solution.keys().any(|file| path.ends_with(file));
        if !with_holes {
            elsewhere.push(text.to_owned());
        }
        Ok(())
    })?;
    let kept: BTreeSet<&str> = elsewhere
        .iter()
        .flat_map(|text| text.lines().map(str::trim))
        .collect();
    let removed = all_removed(lab, solution)?;
    let telling: Vec<&str> = removed
        .iter()
        .flat_map(|text| text.lines().map(str::trim))
        .filter(|line| line.len() >= 12 && !kept.contains(line))
        .collect();
    ensure!(!telling.is_empty(), "nothing was taken out");
    let below: Vec<String> = STEPS[..lab.number() - 1]
        .iter()
        .map(|step| (*step).to_owned())
        .chain(OURS.map(str::to_owned))
        .collect();
    // What a student has, on purpose: a page may show that.
    let mut had: BTreeSet<String> = BTreeSet::new();
    search(student, &mut |path, text| {
        let relative = path.strip_prefix(student).unwrap_or(path);
        // That is looked at more closely, page by page.
        if relative.starts_with("book") {
            return Ok(());
        }
        let lines: BTreeSet<&str> = text.lines().map(str::trim).collect();
        // The steps below are complete, on purpose.
        let complete = below.iter().any(|name| relative.starts_with(name));
        for line in &telling {
            // The description of a lab has lines in quotes.
            let there = lines.contains(line)
                || text.contains(format!("{line:?}").as_str());
            ensure!(complete || !there, "{relative:?} gives away: {line}");
            if there {
                had.insert((*line).to_owned());
            }
        }
        Ok(())
    })?;
    for later in &STEPS[lab.number()..] {
        ensure!(!student.join(later).exists(), "it has {later}");
    }
    for name in [
        ".git",
        "target",
        "tests/lab/grader",
        "tests/mutants",
        "tests/suite",
    ] {
        ensure!(!student.join(name).exists(), "it has {name}");
    }
    let telling = telling.iter().map(|it| (*it).to_owned());
    Ok(telling.filter(|line| !had.contains(line)).collect())
}

fn search(
    directory: &Path,
    look: &mut impl FnMut(&Path, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => search(&path, look)?,
            // Not all of it is text: the pages have fonts.
            false => look(&path, &String::from_utf8_lossy(&fs::read(&path)?))?,
        }
    }
    Ok(())
}
