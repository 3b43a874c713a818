//! The house itself: the shape of the steps.

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::{ALL, Step, Test, claims, programs::workspace};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use similar::{ChangeTag, TextDiff};

pub(crate) const TESTS: &[Test] = claims![
    no_step_up_to_5_has_unsafe_code,
    each_room_of_common_uses_only_those_below_it,
    errors_are_documented_in_one_form,
    each_step_changes_little_of_main,
    every_main_has_the_same_order,
    no_main_has_a_loop_or_a_branch,
    a_loop_or_a_branch_is_found_where_it_is_one,
];

fn main_of(step: Step) -> String {
    let path = workspace().join(step.name).join("src/main.rs");
    fs::read_to_string(path).expect("each step has a main.rs")
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
        let room = place.iter().next().expect("it has a name");
        let room = Path::new(room).with_extension("");
        let room = room.to_str().expect("it is UTF-8");
        if room == "lib" {
            continue;
        }
        let level = level_of(room).expect("a room of the list");
        let text = fs::read_to_string(&source).expect("it is there");
        let tokens = text.parse();
        let tokens =
            tokens.unwrap_or_else(|error| panic!("{place:?}: {error}"));
        for used in used_of_crate(tokens) {
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
    for package in steps.chain(["common"]) {
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

/// What stands behind each `crate::`, alone or in braces.
fn used_of_crate(tokens: TokenStream) -> Vec<String> {
    let mut used = Vec::new();
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            used.extend(used_of_crate(group.stream()));
        }
        let is_crate = token.to_string() == "crate";
        match tokens.get(index + 3) {
            Some(TokenTree::Ident(name)) if is_crate => {
                used.push(name.to_string());
            }
            Some(TokenTree::Group(group)) if is_crate => {
                let inside: Vec<TokenTree> =
                    group.stream().into_iter().collect();
                let items = inside.split(|it| it.to_string() == ",");
                used.extend(
                    items.filter_map(|it| Some(it.first()?.to_string())),
                );
            }
            _ => {}
        }
    }
    used
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

/// It is a table of contents, one call a line. What chooses or repeats is in a
/// library, where there is room to say why.
fn no_main_has_a_loop_or_a_branch() {
    for step in ALL {
        let found = loops_and_branches(&main_of(step));
        assert!(found.is_empty(), "{}/src/main.rs: {found:?}", step.name);
    }
}

/// The words and operators of `source` that loop or branch, each with its line.
fn loops_and_branches(source: &str) -> Vec<String> {
    let tokens = source.parse().expect("it compiles, so it has tokens");
    let mut found = Vec::new();
    look_for_loops(tokens, &mut found);
    found
}

/// The tokens are the compiler's: comments and literals can't be mistaken for
/// them, and the arguments of a macro are among them.
fn look_for_loops(tokens: TokenStream, found: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    // Whether a value has just ended: the next operator has it on its left.
    let mut behind_a_value = false;
    // `for` is a loop if an `in` follows, before the braces: `for<'a>` and
    // `impl A for B` are none.
    let mut last_for = None;
    while let Some(token) = tokens.next() {
        let line = token.span().start().line;
        match token {
            TokenTree::Ident(word) => {
                let word = word.to_string();
                match word.as_str() {
                    "if" | "else" | "match" | "while" | "loop" => {
                        found.push(format!("{word}, line {line}"));
                    }
                    "for" => last_for = Some(line),
                    "in" => found.extend(
                        last_for.take().map(|line| format!("for, line {line}")),
                    ),
                    _ => {}
                }
                let before_a_value = ["move", "return", "break", "in"];
                behind_a_value = !before_a_value.contains(&word.as_str());
            }
            TokenTree::Punct(sign) => {
                let sign = sign.as_char();
                let next = |wanted: char| {
                    move |token: &TokenTree| {
                        matches!(token, TokenTree::Punct(it)
                            if it.as_char() == wanted)
                    }
                };
                let twice = tokens.peek().is_some_and(next(sign));
                // Without a value on its left it is a closure that takes
                // nothing, or a reference to a reference.
                if matches!(sign, '&' | '|') && twice && behind_a_value {
                    found.push(format!("{sign}{sign}, line {line}"));
                }
                let is_attribute = sign == '#'
                    && tokens.peek().is_some_and(|token| {
                        matches!(token, TokenTree::Group(it)
                            if it.delimiter() == Delimiter::Bracket)
                    });
                if is_attribute {
                    tokens.next();
                }
                behind_a_value = sign == '?';
            }
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Brace {
                    last_for = None;
                }
                look_for_loops(group.stream(), found);
                behind_a_value = true;
            }
            TokenTree::Literal(_) => behind_a_value = true,
        }
    }
}

fn a_loop_or_a_branch_is_found_where_it_is_one() {
    for (line, expected) in [
        ("if a { b() }", "if"),
        ("let a = if b { 1 } else { 2 };", "if else"),
        ("let Some(a) = b else { return };", "else"),
        ("match a { _ => {} }", "match"),
        ("for a in b { }", "for"),
        ("for (a, b) in c { }", "for"),
        ("while a { }", "while"),
        ("loop { }", "loop"),
        ("let a = || { loop { } };", "loop"),
        ("println!(\"{}\", if a { 1 } else { 2 });", "if else"),
        ("a? && b();", "&&"),
        ("a() || b();", "||"),
        ("let a = b.c || d;", "||"),
        ("let a = \"b\".is_empty() && true;", "&&"),
        // And none of these is one.
        ("let container = || { a() };", ""),
        ("a(move || b, || c, &&d);", ""),
        ("process.flags |= A | B & C;", ""),
        ("let a: for<'a> fn(&'a u8) = b;", ""),
        ("impl A for B { fn c() { d.is_in(e) } }", ""),
        ("#[cfg(if_not = \"for\")] a(\"if b { c && d }\");", ""),
        ("// if, for, a && b", ""),
        ("/// if, for, a && b", ""),
        ("r#match(if_not, a::r#loop);", ""),
    ] {
        let found = loops_and_branches(&format!("fn main() {{\n{line}\n}}"));
        let words: Vec<&str> =
            found.iter().flat_map(|it| it.split(", line 2")).collect();
        let words = words.concat();
        assert_eq!(words, expected.replace(' ', ""), "{line}");
    }
}
