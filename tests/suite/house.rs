//! The house itself: the shape of the steps.

use std::fs;

use harness::{ALL, Step, Test, claims, programs::workspace};
use similar::{ChangeTag, TextDiff};

pub(crate) const TESTS: &[Test] = claims![
    no_step_up_to_5_has_unsafe_code,
    each_step_changes_little_of_main,
    every_main_has_the_same_order,
];

fn main_of(step: Step) -> String {
    let path = workspace().join(step.name).join("src/main.rs");
    fs::read_to_string(path).expect("each step has a main.rs")
}

fn no_step_up_to_5_has_unsafe_code() {
    for step in &ALL[..5] {
        let path = workspace().join(step.name).join("src/lib.rs");
        let lib = fs::read_to_string(path).expect("each step has a lib.rs");
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{}", step.name);
    }
}

/// The diff from step to step is the summary of the lesson.
fn each_step_changes_little_of_main() {
    for pair in ALL[..5].windows(2) {
        let [before, after] = [pair[0], pair[1]].map(main_of);
        let diff = TextDiff::from_lines(&before, &after);
        let count =
            |tag| diff.iter_all_changes().filter(|it| it.tag() == tag).count();
        let (added, removed) =
            (count(ChangeTag::Insert), count(ChangeTag::Delete));
        assert!(
            added <= 25 && removed <= 5,
            "+{added} -{removed}: diff {}/src/main.rs {}/src/main.rs",
            pair[0].name,
            pair[1].name,
        );
    }
}

/// The eye finds its place.
fn every_main_has_the_same_order() {
    let parts = [
        "//! Step ",
        "\nuse ",
        "\nfn main() -> ExitCode {",
        "\nstruct Args {",
        "\nfn run(args: &Args, workload: &Workload)",
        "let container = || {",
        "process.spawn(container)?",
        "child.start()?",
        "child.wait()",
    ];
    for step in ALL {
        let main = main_of(step);
        let mut from = 0;
        for part in parts {
            let at = main[from..].find(part);
            let at = at.unwrap_or_else(|| {
                panic!("{}: no {part:?}, or not in its place", step.name)
            });
            from += at + part.len();
        }
    }
}
