//! A hole is judged alone, and by nothing but what the student has in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lab::{
    check::{Outcome, Verdict},
    description::{Check, Hole, Lab, Place, Sources},
    judge::{Score, Tools, judge},
    plan::Job,
};

const FILE: &str = "step/src/lib.rs";
const HOLES: [&str; 3] = ["one", "two", "three"];

fn lab() -> Lab {
    let holes = HOLES.map(|name| Hole {
        name: name.to_owned(),
        places: vec![Place {
            file: "src/lib.rs".to_owned(),
            function: Some(name.to_owned()),
            lines: Vec::new(),
            binds: None,
        }],
        hints: Vec::new(),
    });
    let checks = HOLES.map(|name| Check {
        name: format!("{name} is right"),
        hole: name.to_owned(),
        points: 10,
        function: String::new(),
        limits: false,
        hidden: false,
    });
    Lab {
        step: "step".to_owned(),
        holes: holes.into(),
        checks: checks.into(),
        hidden: 0,
    }
}

fn sources(bodies: [&str; 3]) -> Sources {
    let functions = HOLES.iter().zip(bodies);
    let text =
        functions.map(|(name, body)| format!("fn {name}() {{{body}}}\n"));
    Sources::from([(FILE.to_owned(), text.collect())])
}

/// A step that is right if nothing in it is wrong.
struct Paper {
    place: PathBuf,
    /// What becomes of a mixed program, whose hole this is.
    mixed: fn(&str) -> bool,
}

impl Tools for Paper {
    fn build(&self, sources: &Sources) -> anyhow::Result<PathBuf> {
        let program = self.place.join("program");
        fs::write(&program, &sources[FILE])?;
        Ok(program)
    }

    fn run(&self, jobs: Vec<Job>) -> anyhow::Result<Vec<Vec<Outcome>>> {
        let found = jobs.iter().map(|job| {
            let text = fs::read_to_string(&job.program)?;
            let outcomes = job.checks.iter().map(|check| {
                let is_right = match job.filled.is_empty() {
                    true => !text.contains("wrong"),
                    false => (self.mixed)(&check.hole),
                };
                match is_right {
                    true => Outcome::new(Verdict::Passed, ""),
                    false => Outcome::failed("wrong"),
                }
            });
            Ok(outcomes.collect())
        });
        found.collect()
    }
}

fn points(students: [&str; 3], mixed: fn(&str) -> bool) -> Vec<u32> {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path: &Path = place.path();
    let tools = Paper {
        place: path.to_owned(),
        mixed,
    };
    let (lab, solution) = (lab(), sources(["a", "b", "c"]));
    let programs = path.join("programs");
    let judgement =
        judge(&lab, &sources(students), &solution, &tools, &programs);
    let score = Score {
        lab: &lab,
        outcomes: &judgement.expect("nothing is really run").outcomes,
    };
    HOLES.iter().map(|name| score.earned(name)).collect()
}

#[test]
fn a_right_hole_earns_its_points_beside_a_wrong_one() {
    let found = points(["x", "wrong", "z"], |hole| hole != "two");
    assert_eq!(found, [10, 0, 10]);
}

/// What is in a hole can find the solution in the program that has both, and
/// run that.
#[test]
fn a_hole_that_runs_the_solution_of_the_mixed_program_earns_nothing() {
    assert_eq!(points(["wrong", "wrong", "wrong"], |_| true), [0, 0, 0]);
    // And it costs nothing but its own.
    assert_eq!(points(["x", "wrong", "z"], |_| true), [10, 0, 10]);
}
