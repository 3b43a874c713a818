//! Proves that the labs grade rightly. CI runs it.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use anyhow::ensure;
use ground::STEPS;
use lab::{
    build::{cargo, checkout, target_of},
    description::{Lab, Sources},
    files::read,
    sandbox,
};

use crate::{
    grade::{Memory, grade},
    holes::{all_removed, fill, starter},
    start::make,
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
        match prove(*step) {
            Ok(row) => println!("{row}"),
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
    let lab = Lab::load(step)?;
    // Always the same place, so that Cargo builds little anew.
    let place = target_of(checkout()).join("lab");
    let student = place.join("student");
    if student.exists() {
        fs::remove_dir_all(&student)?;
    }
    make(step, &student)?;
    let solution = lab.sources(checkout())?;
    nothing_leaks(&lab, &solution, &student)?;

    // As the student builds it: the step, and what checks it.
    let check = cargo(&student)
        .args(["check", "--quiet", "--locked", "--offline", "--workspace"])
        .env("CARGO_TARGET_DIR", place.join("target-of-student"))
        .output()?;
    let says = String::from_utf8_lossy(&check.stderr);
    ensure!(check.status.success(), "the starter: {says}");

    let memory = Memory::default();
    let grade = |sources: &Sources| -> anyhow::Result<_> {
        for (file, text) in sources {
            fs::write(student.join(file), text)?;
        }
        let grade = grade(&student, Lab::load(step)?, "student", &memory)?;
        ensure!(grade.is_complete(), "not all checks can be run here");
        Ok(grade)
    };
    let starter = lab.sources(&student)?;
    lab.find_holes(&starter)?;
    let of_starter = grade(&starter)?.score();
    ensure!(of_starter == 0, "the starter scores {of_starter}");

    for hole in &lab.holes {
        let own = lab.checks.iter().filter(|it| it.hole == hole.name);
        let points: u32 = own.map(|check| check.points).sum();
        ensure!(points > 0, "the hole {} is worth nothing", hole.name);
        let one = fill(&lab, &starter, &solution, |it| it.name == hole.name)?;
        let found = grade(&one)?;
        ensure!(
            found.score() == points && found.score_of(&hole.name) == points,
            "the hole {} alone scores {}, not {points}: {}",
            hole.name,
            found.score(),
            found
                .outcomes
                .iter()
                .map(|it| it.says.as_str())
                .collect::<String>(),
        );
    }

    let of_solution = grade(&solution)?;
    let failed: Vec<String> = of_solution
        .lab
        .checks
        .iter()
        .zip(&of_solution.outcomes)
        .filter(|(check, outcome)| outcome.points(check) == 0)
        .map(|(check, outcome)| format!("{}: {}", check.name, outcome.says))
        .collect();
    ensure!(
        failed.is_empty(),
        "the solution fails:\n{}",
        failed.join("\n")
    );
    Ok(format!(
        "{step:>3}  {of_starter:>7}  {:>5}  {:>6}",
        lab.holes.len(),
        lab.points()
    ))
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

/// Looks in all that a student gets for lines that were taken out.
fn nothing_leaks(
    lab: &Lab,
    solution: &Sources,
    student: &Path,
) -> anyhow::Result<()> {
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
    search(student, &mut |path, text| {
        let relative = path.strip_prefix(student).unwrap_or(path);
        let lines: BTreeSet<&str> = text.lines().map(str::trim).collect();
        // The steps below are complete, on purpose.
        let complete = below.iter().any(|name| relative.starts_with(name));
        for line in &telling {
            // The description of a lab has lines in quotes.
            let there = lines.contains(line)
                || text.contains(format!("{line:?}").as_str());
            ensure!(complete || !there, "{relative:?} gives away: {line}");
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
    Ok(())
}

fn search(
    directory: &Path,
    look: &mut impl FnMut(&Path, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => search(&path, look)?,
            false => look(&path, &read(&path)?)?,
        }
    }
    Ok(())
}
