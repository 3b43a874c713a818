//! The house itself: the shape of the steps.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ground::main_of as path_of_main;
use harness::{
    ALL, FULL, OVERLAY, PARTS_OF_FULL, Step, Test, claims, programs::workspace,
};
use similar::{ChangeTag, TextDiff};

mod contents;
mod rooms;
mod wings;

use contents::only_a_table_of_contents_may_stand_in_a_main;
use rooms::no_way_to_another_room_is_overlooked;
use wings::{a_wing_knows_only_what_is_below_it, no_step_needs_a_wing};

pub(crate) const TESTS: &[Test] = claims![
    no_step_up_to_5_has_unsafe_code,
    each_room_of_common_uses_only_those_below_it,
    errors_are_documented_in_one_form,
    each_step_changes_little_of_main,
    the_last_part_is_step_6,
    every_main_has_the_same_order,
    each_main_is_a_table_of_contents,
    only_a_table_of_contents_may_stand_in_a_main,
    no_way_to_another_room_is_overlooked,
    a_wing_knows_only_what_is_below_it,
    no_step_needs_a_wing,
];

fn main_of(step: Step) -> String {
    let path = workspace().join(path_of_main(step.name));
    fs::read_to_string(path).expect("each step has a main.rs")
}

/// The steps, with the parts of the last one before it: each grows out of the
/// one before.
fn with_parts() -> impl Iterator<Item = Step> {
    let steps = ALL.into_iter().filter(|step| *step <= OVERLAY);
    steps.chain(PARTS_OF_FULL)
}

/// The workspace denies it, and they make no exception.
fn no_step_up_to_5_has_unsafe_code() {
    let read = |path| fs::read_to_string(path).expect("it is there");
    let manifest = read(workspace().join("Cargo.toml"));
    assert!(manifest.contains("\nunsafe_code = \"deny\"\n"));
    for step in &ALL[..5] {
        let package = workspace().join(step.name);
        let manifest = read(package.join("Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true\n"),
            "{}",
            step.name
        );
        for source in sources_below(&package.join("src")) {
            let exception = read(source.clone()).contains("unsafe_code");
            assert!(!exception, "{source:?} makes an exception");
        }
    }
}

/// All files of Rust in a directory, and in those below it.
fn sources_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("it is there");
    let paths = entries.map(|entry| entry.expect("it is there").path());
    let found = paths.map(|path| match path.is_dir() {
        true => sources_below(&path),
        false if path.extension().is_some_and(|it| it == "rs") => vec![path],
        false => vec![],
    });
    found.flatten().collect()
}

/// The rooms of `common`, from the top down: `lib.rs` says what is in each.
const ROOMS: [&str; 8] = [
    "program", "probe", "workload", "process", "rootfs", "errors", "host",
    "sys",
];

fn each_room_of_common_uses_only_those_below_it() {
    let common = workspace().join("common/src");
    let mut arrows = 0;
    for source in sources_below(&common) {
        let place = source.strip_prefix(&common).expect("it is below");
        let module = place.with_extension("");
        let module = module.iter().map(|it| it.to_str().expect("UTF-8"));
        let module: Vec<&str> = module.collect();
        if module == ["lib"] {
            continue;
        }
        let level = level_of(module[0]).expect("a room of the list");
        let text = fs::read_to_string(&source).expect("it is there");
        let tokens = text.parse().expect("it compiles, so it has tokens");
        let used = rooms::used(tokens, &module);
        for used in used.unwrap_or_else(|what| panic!("{place:?}: {what}")) {
            let below = level_of(&used);
            let below = below.unwrap_or_else(|| panic!("what is {used}?"));
            assert!(below >= level, "{place:?} uses {used}");
            arrows += usize::from(below > level);
        }
    }
    assert!(arrows > 30, "only {arrows} uses were found");
}

/// As `common/src/lib.rs` says: a heading, and then what is not said there.
fn errors_are_documented_in_one_form() {
    let steps = ALL.iter().map(|step| step.name);
    let wings = wings::PLACES;
    for package in steps.chain(["common"]).chain(wings) {
        for source in sources_below(&workspace().join(package).join("src")) {
            let text = fs::read_to_string(&source).expect("it is there");
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                assert!(!line.starts_with("/// Errors"), "{source:?}: {line}");
                if line == "/// # Errors" {
                    let next = lines.next().unwrap_or_default();
                    assert!(next.len() > "/// ".len(), "{source:?}: {next}");
                    let nothing = next.contains("hat of the call");
                    assert!(!nothing, "{source:?}: {next}");
                }
            }
        }
    }
}

/// How far down a room is, or the room that `lib.rs` shows something of.
fn level_of(name: &str) -> Option<usize> {
    let room = match name {
        "Program" => "program",
        "Workload" => "workload",
        "Child" | "NewProcess" => "process",
        "rootless" => "host",
        // A macro is always shown there.
        "hints" => "errors",
        name => name,
    };
    ROOMS.iter().position(|it| *it == room)
}

/// The diff from step to step is the summary of the lesson.
fn each_step_changes_little_of_main() {
    let steps: Vec<Step> = with_parts().collect();
    for pair in steps.windows(2) {
        let [before, after] = [pair[0], pair[1]].map(main_of);
        let diff = TextDiff::from_lines(&before, &after);
        let count =
            |tag| diff.iter_all_changes().filter(|it| it.tag() == tag).count();
        let (added, removed) =
            (count(ChangeTag::Insert), count(ChangeTag::Delete));
        assert!(
            added <= 25 && removed <= 5,
            "+{added} -{removed}: diff {} {}",
            path_of_main(pair[0].name),
            path_of_main(pair[1].name),
        );
    }
}

/// The parts lead to the step, and nowhere else.
fn the_last_part_is_step_6() {
    let last = main_of(PARTS_OF_FULL[4]);
    let renamed = last.replacen("//! Step 6e: ", "//! Step 6: ", 1);
    assert_ne!(renamed, last, "the last part says what it is");
    let path = path_of_main(PARTS_OF_FULL[4].name);
    assert!(
        renamed == main_of(FULL),
        "{path} differs from step 6 by more than its name: diff {path} {}",
        path_of_main(FULL.name),
    );
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
    for step in with_parts().chain([FULL]) {
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

/// It is one call a line. What chooses or repeats is in a library, where there
/// is room to say why.
fn each_main_is_a_table_of_contents() {
    for step in with_parts().chain([FULL]) {
        let refused = contents::refused(&main_of(step));
        let path = path_of_main(step.name);
        assert!(refused.is_empty(), "{path}: {refused:?}");
    }
}
