//! The holes of a lab, filled by two people at once.

use std::{fs, process::Command};

use lab::{
    bench::FILLED,
    description::{Hole, Lab, Place, Sources},
    holes::{edited_outside, mixed},
};

const FILE: &str = "step/src/main.rs";

const SOLUTION: &str = r#"
fn one() -> String {
    "one of the solution".to_owned()
}

fn two() -> Result<u32, String> {
    let text = "2";
    text.parse().map_err(|_| "two".to_owned())
}

fn main() {
    let words = 1;
    // Begin of the hole `lines`. Leave this line as it is.
    let words = words + 1;
    // End of the hole `lines`. Leave this line as it is.
    println!("{} {:?} {words}", one(), two());
}
"#;

fn lab() -> Lab {
    let hole = |name: &str, binds: Option<&str>| Hole {
        name: name.to_owned(),
        places: vec![Place {
            file: "src/main.rs".to_owned(),
            function: binds.is_none().then(|| name.to_owned()),
            lines: Vec::new(),
            binds: binds.map(str::to_owned),
        }],
        hints: Vec::new(),
    };
    Lab {
        step: "step".to_owned(),
        holes: vec![
            hole("one", None),
            hole("two", None),
            hole("lines", Some("words")),
        ],
        checks: Vec::new(),
        hidden: 0,
    }
}

fn sources(text: &str) -> Sources {
    Sources::from([(FILE.to_owned(), text.to_owned())])
}

fn students() -> Sources {
    sources(
        &SOLUTION
            .replace("\"one of the solution\"", "\"one of the student\"")
            .replace("let text = \"2\";", "return Err(\"not yet\".into());")
            .replace("    text.parse().map_err(|_| \"two\".to_owned())\n", "")
            .replace("words + 1", "words + 10"),
    )
}

#[test]
fn a_variable_decides_whose_code_runs_in_which_hole() {
    let (lab, students) = (lab(), students());
    let mixed =
        mixed(&lab, &students, &sources(SOLUTION)).expect("it is whole");
    let place = tempfile::tempdir().expect("a temporary directory");
    let source = place.path().join("main.rs");
    fs::write(&source, &mixed.sources[FILE]).expect("it is ours");
    let program = place.path().join("main");
    let built = Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .args([&program, &source])
        .output()
        .expect("a compiler");
    let says = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{says}\n{}", mixed.sources[FILE]);

    let run = |filled: &str| {
        let output = Command::new(&program).env(FILLED, filled).output();
        let output = output.expect("a program");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let whole = "one of the student Err(\"not yet\") 11";
    assert_eq!(run(""), whole);
    assert_eq!(run("one two lines"), whole, "the names are no tokens");
    assert_eq!(run(&mixed.all_but("")), "one of the solution Ok(2) 2");
    assert_eq!(run(&mixed.all_but("one")), "one of the student Ok(2) 2");
    let two = "one of the solution Err(\"not yet\") 2";
    assert_eq!(run(&mixed.all_but("two")), two);
    assert_eq!(run(&mixed.all_but("lines")), "one of the solution Ok(2) 11");
}

#[test]
fn edits_outside_of_the_holes_are_named() {
    let lab = lab();
    let starter = sources(SOLUTION);
    let edited = |text: &str| {
        edited_outside(&lab, FILE, &sources(text), &starter).expect("fences")
    };
    assert_eq!(edited(SOLUTION), None);
    assert_eq!(edited(&students()[FILE]), None);
    let longer = SOLUTION.replace("    let text", "    // More.\n    let text");
    assert_eq!(edited(&longer), None);
    // Behind a hole that has more lines than it had.
    let printed = longer.replace("println!(", "println!(\"printed\"); print!(");
    assert_eq!(edited(&printed), Some((17, 17)));
    let helper = format!("{SOLUTION}\nfn helper() {{}}\n");
    assert_eq!(edited(&helper), Some((19, 19)));
    let without = SOLUTION.replace("    let words = 1;\n", "");
    assert!(edited(&without).is_some());
    let fence = SOLUTION.replace("// Begin of", "// No");
    edited_outside(&lab, FILE, &sources(&fence), &starter)
        .expect_err("a fence is gone");
}
