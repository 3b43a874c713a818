//! The table of hints: who has seen that a row is right, and where it sends the
//! reader.

use std::{collections::BTreeSet, fs};

use common::errors::hints::{Row, Witness, rows};
use harness::{Test, claims, programs::workspace};

use crate::SUITE;

pub(crate) const TESTS: &[Test] = claims![
    each_hint_is_met_by_the_test_that_it_names,
    each_hint_that_no_test_meets_has_a_source,
    what_a_hint_knows_by_words_is_met_by_a_test,
    each_page_of_a_hint_is_in_the_book,
];

fn read(path: &str) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|_| panic!("no {path:?}"))
}

/// Panics with all rows that are wrong, not only with the first one.
fn assert_none_is<'a>(wrong: impl Iterator<Item = &'a Row>, what: &str) {
    let wrong: Vec<String> = wrong
        .map(|row| format!("{:?} {:?}", row.cause, row.witness))
        .collect();
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// The cause is what the test expects to read, be it in its own words or in
/// a snapshot.
fn each_hint_is_met_by_the_test_that_it_names() {
    let missed = rows().into_iter().filter(|row| match row.witness {
        Witness::Test(test) => !shows(test, row),
        Witness::Source(_) => false,
    });
    assert_none_is(missed, "rows that their test does not show");
}

fn shows(test: &str, row: &Row) -> bool {
    let Some((module, name)) = test.split_once("::") else {
        return false;
    };
    let in_suite = SUITE.concat().into_iter().any(|it| {
        it.name == name && it.module.rsplit("::").next() == Some(module)
    });
    let source = read(&format!("tests/suite/{module}.rs"));
    let function = body_of(&source, name);
    let hint = format!("  hint: {}: {}\n", row.cause, row.fix);
    in_suite
        && (function.contains(row.cause)
            || snapshots_of(&function).iter().any(|it| it.contains(&hint)))
}

/// The text of a function, with the strings that go on in the next line in one.
fn body_of(source: &str, name: &str) -> String {
    let start = source.find(&format!("\nfn {name}() {{"));
    let body = &source[start.expect("a test is a function")..];
    let end = body.find("\n}\n").expect("it ends");
    let mut pieces = body[..end].split("\\\n");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, next| text + next.trim_start())
}

/// The snapshots that a test of `refusals` names; the end of a name may depend
/// on the user or on the machine.
fn snapshots_of(function: &str) -> Vec<String> {
    let directory = workspace().join("tests/suite/snapshots");
    let entries = fs::read_dir(directory).expect("it is there").flatten();
    let all: Vec<_> = entries.map(|entry| entry.path()).collect();
    let strings = function.split('"').skip(1).step_by(2);
    let of_string = strings.flat_map(|string| {
        let (name, varies) = match string.split_once('{') {
            Some((name, _)) => (name, true),
            None => (string, false),
        };
        let wanted = format!("refused_{name}");
        all.iter().filter(move |path| {
            let stem = path.file_stem().expect("it is a file");
            let stem = stem.to_string_lossy();
            match varies && !name.is_empty() {
                true => stem.starts_with(&wanted),
                false => stem == wanted.as_str(),
            }
        })
    });
    let read = |path| fs::read_to_string(path).expect("it is UTF-8");
    of_string.map(read).collect()
}

fn each_hint_that_no_test_meets_has_a_source() {
    let without = rows().into_iter().filter(|row| match row.witness {
        Witness::Source(source) => {
            // A man page, or something in a file or of somebody.
            let is_manual = source.ends_with("(2)") || source.ends_with("(8)");
            !is_manual && !source.contains(" in ") && !source.contains(" of ")
        }
        Witness::Test(_) => false,
    });
    assert_none_is(without, "rows without a source");
}

/// A call is made by its function, which prints it. But the words of a context
/// may change, and the hint would be gone in silence.
fn what_a_hint_knows_by_words_is_met_by_a_test() {
    let met: BTreeSet<_> = rows()
        .into_iter()
        .filter(|row| matches!(row.witness, Witness::Test(_)))
        .flat_map(|row| row.calls)
        .collect();
    // What is tied to a constant, or fits all calls.
    let tied = ["preparing the default root file system", ""];
    let unmet = rows().into_iter().filter(|row| {
        row.calls.iter().any(|call| {
            !call.contains('(') && !tied.contains(call) && !met.contains(call)
        })
    });
    assert_none_is(unmet, "rows that a new wording would disable");
}

/// By the title that the table of contents has, in the place where the book is
/// built.
fn each_page_of_a_hint_is_in_the_book() {
    let summary = read("book/src/SUMMARY.md");
    let settings = read("book/book.toml");
    assert!(settings.contains("build-dir = \"../target/book\""));
    let built = workspace().join("target/book");
    let missing = rows().into_iter().filter(|row| {
        let page = row.page;
        let line = format!("[{}]({}.md)\n", page.title, page.path);
        let file = built.join(page.path).with_extension("html");
        let is_built = !built.join("index.html").exists() || file.exists();
        !summary.contains(&line) || !is_built
    });
    assert_none_is(missing, "rows whose page is not in the book");
}
