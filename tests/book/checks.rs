//! That the book is in order: nothing pasted, nothing broken, nothing misspelt.

use std::{
    collections::HashSet,
    fs,
    io::Write,
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

use book_preprocessor::{
    Workspace, diff, manual,
    markdown::{self, Part, spans},
};
use ground::{main_of, manifest_of};
use harness::{
    ALL, OVERLAY, PARTS_OF_FULL, Test, claims, needs, programs::workspace,
};

use crate::chapters::{self, Chapter, source};

pub(crate) const TESTS: &[Test] = claims![
    each_directive_finds_what_it_shows,
    each_diff_leads_from_one_step_to_the_next,
    each_hunk_is_in_its_place,
    no_code_is_pasted,
    each_fence_has_a_language,
    each_link_leads_somewhere,
    each_picture_is_shown,
    each_chapter_of_a_step_has_the_same_shape,
    each_quiz_has_one_right_answer_a_question,
    each_page_with_sessions_says_where_they_are_typed,
    no_sentence_waits_for_code,
    the_spelling_is_british,
];

/// Panics with everything that is wrong, not only with the first thing.
fn assert_none(wrong: &[String], what: &str) {
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

fn each_directive_finds_what_it_shows() {
    let workspace = Workspace::new(workspace());
    let wrong = chapters::all().into_iter().filter_map(|chapter| {
        let expanded = book_preprocessor::expand(&chapter.text, &workspace);
        let error = expanded.err()?;
        Some(format!("{}: {error:#}", chapter.name))
    });
    assert_none(&wrong.collect::<Vec<_>>(), "directives");
}

/// The files of which the book shows the diffs: from step to step, and from part
/// to part of the last one.
fn pairs() -> Vec<[String; 2]> {
    let parts = [&[OVERLAY][..], &PARTS_OF_FULL].concat();
    let pairs = ALL.windows(2).chain(parts.windows(2));
    let names = pairs.map(|pair| [pair[0].name, pair[1].name]);
    let files = names.flat_map(|it| [it.map(main_of), it.map(manifest_of)]);
    files.filter(|[old, new]| old != new).collect()
}

/// What the reader sees of a diff, applied to the step below, is the step.
fn each_diff_leads_from_one_step_to_the_next() {
    let workspace = Workspace::new(workspace());
    let read = |path: &str| workspace.read(path).expect("it is a source");
    for [old, new] in pairs() {
        let figure = diff::whole_file(&old, &new, &workspace);
        let figure = figure.expect("the steps differ");
        let (before, after) = diff::undo(&figure).expect("it is a figure");
        assert!(before == read(&old), "{old} is not in its diff to {new}");
        assert!(after == read(&new), "the diff from {old} gives no {new}");
    }
}

/// So are the hunks, whatever their context is.
fn each_hunk_is_in_its_place() {
    let workspace = Workspace::new(workspace());
    let read = |path: &str| workspace.read(path).expect("it is a source");
    for ([old, new], context) in pairs()
        .into_iter()
        .flat_map(|pair| (0..4).map(move |context| (pair.clone(), context)))
    {
        let (before, after) = (read(&old), read(&new));
        let before: Vec<&str> = before.split_inclusive('\n').collect();
        let (mut applied, mut next) = (String::new(), 0);
        let old_text = before.concat();
        for hunk in diff::hunks(&old_text, &after, context) {
            applied += &before[next..hunk.start].concat();
            next = hunk.start;
            for line in hunk.lines {
                let sign = line.change.to_string();
                if sign != "+" {
                    assert_eq!(before[next], line.text, "{old}:{next}");
                    next += 1;
                }
                if sign != "-" {
                    applied += line.text;
                }
            }
        }
        applied += &before[next..].concat();
        assert!(applied == after, "{old} with its hunks is not {new}");
    }
}

/// How many lines in a row must be those of a source to be called pasted.
const PASTED: usize = 3;

fn no_code_is_pasted() {
    let mut sources = HashSet::new();
    for directory in ALL.map(|step| step.name).iter().chain(&["common"]) {
        let mut files = vec![workspace().join(directory).join("Cargo.toml")];
        find_files(&workspace().join(directory).join("src"), &mut files);
        let examples = workspace().join(directory).join("examples");
        if examples.is_dir() {
            find_files(&examples, &mut files);
        }
        for file in files {
            let text = fs::read_to_string(file).expect("it is a source");
            let lines = code_lines(text.lines());
            sources.extend(lines.windows(PASTED).map(<[String]>::to_vec));
        }
    }
    let mut wrong = Vec::new();
    for chapter in chapters::all() {
        for part in markdown::parts(&chapter.text) {
            let Part::Fence(fence) = part else {
                continue;
            };
            let lines = code_lines(fence.body.iter().copied());
            let mut runs = lines.windows(PASTED);
            if let Some(run) = runs.find(|run| sources.contains(*run)) {
                wrong.push(format!(
                    "{}:{}: {}",
                    chapter.name, fence.line, run[0]
                ));
            }
        }
    }
    assert_none(&wrong, "pasted code, where {{#item}} would do");
}

/// The lines in which something stands.
fn code_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines = lines.map(str::trim).filter(|line| line.len() > 1);
    lines.map(String::from).collect()
}

fn find_files(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("it is a directory");
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => find_files(&entry.path(), files),
            _ => files.push(entry.path()),
        }
    }
}

/// The languages of fences. Commands are typed in `console` blocks, so that
/// they are executed.
const LANGUAGES: [&str; 9] = [
    "console", "text", "rust", "c", "toml", "json", "ini", "diff", "yaml",
];

fn each_fence_has_a_language() {
    let mut wrong = Vec::new();
    for chapter in chapters::all() {
        for part in markdown::parts(&chapter.text) {
            if let Part::Fence(fence) = part
                && !LANGUAGES.contains(&fence.language())
            {
                let Chapter { name, .. } = &chapter;
                wrong.push(format!("{name}:{}: {:?}", fence.line, fence.info));
            }
        }
    }
    assert_none(&wrong, &format!("fences, which may be {LANGUAGES:?}"));
}

/// A link of a chapter.
struct Link {
    line: usize,
    target: String,
}

fn links(chapter: &Chapter) -> Vec<Link> {
    let mut links = Vec::new();
    for part in markdown::parts(&chapter.text) {
        let Part::Prose { line, text } = part else {
            continue;
        };
        for piece in spans(text).into_iter().step_by(2) {
            let mut rest = piece;
            let found = |rest: &str| {
                let markers = ["](", "href=\"", "src=\""].iter();
                let ends = markers
                    .filter_map(|it| rest.find(it).map(|at| at + it.len()));
                ends.min()
            };
            while let Some(start) = found(rest) {
                rest = &rest[start..];
                let end = rest.find([')', '"', ' ']).unwrap_or(rest.len());
                let target = rest[..end].to_owned();
                links.push(Link { line, target });
            }
        }
    }
    links
}

/// The anchors of a chapter: mdBook makes one of each heading.
fn anchors(text: &str) -> HashSet<String> {
    let mut anchors = HashSet::new();
    for part in markdown::parts(text) {
        let Part::Prose { text, .. } = part else {
            continue;
        };
        if let Some(title) = text.strip_prefix('#') {
            let title = title.trim_start_matches('#').trim();
            let slug = title.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
            });
            anchors.insert(slug.collect());
        }
        for piece in text.split(" id=\"").skip(1) {
            anchors.extend(piece.split_once('"').map(|it| it.0.to_owned()));
        }
    }
    anchors
}

fn each_link_leads_somewhere() {
    let chapters = chapters::all();
    let mut wrong = Vec::new();
    for chapter in &chapters {
        for Link { line, target } in links(chapter) {
            if target.starts_with("https://") {
                continue;
            }
            let (page, anchor) =
                target.split_once('#').unwrap_or((&target, ""));
            let path = match page {
                "" => PathBuf::from(&chapter.name),
                page => beside(Path::new(&chapter.name), page),
            };
            let found = chapters.iter().find(|it| Path::new(&it.name) == path);
            let is_there = match found {
                Some(page) => {
                    anchor.is_empty() || anchors(&page.text).contains(anchor)
                }
                // A picture, for example.
                None => {
                    !page.ends_with(".md") && source().join(&path).is_file()
                }
            };
            if !is_there {
                wrong.push(format!("{}:{line}: {target}", chapter.name));
            }
        }
    }
    assert_none(&wrong, "links that lead nowhere");
}

/// The path of `target`, as it is written in `chapter`.
fn beside(chapter: &Path, target: &str) -> PathBuf {
    let directory = chapter.parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    for component in directory.join(target).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            component => path.push(component),
        }
    }
    path
}

fn each_picture_is_shown() {
    let chapters = chapters::all();
    let mut wrong = Vec::new();
    let mut pictures = Vec::new();
    find_files(&source().join("pictures"), &mut pictures);
    for picture in pictures {
        let name = picture.file_name().expect("it is a file").to_string_lossy();
        let directive = format!("{{{{#picture {name} ");
        if !chapters.iter().any(|it| it.text.contains(&directive)) {
            wrong.push(name.into_owned());
        }
    }
    assert_none(&wrong, "pictures that no chapter shows");
}

/// The sections of a step's chapter, in order. Between them others may stand.
const SHAPE: [&str; 10] = [
    "## What still leaks",
    "## The idea",
    "## The diff",
    "## The walk",
    "## Run it",
    "## The scoreboard",
    "## Break it",
    "## What Docker and runc do here",
    "## Common errors",
    "## In five lines",
];

/// The same of a chapter about what stands above step 6; the last but one says
/// of whom.
const SHAPE_ABOVE: [&str; 7] = [
    "## What is missing",
    "## The idea",
    "## The walk",
    "## Break it",
    "## Three questions",
    "## What Docker and ",
    "## In five lines",
];

/// Those chapters.
const ABOVE: [&str; 8] = [
    "images.md",
    "registry.md",
    "life.md",
    "door.md",
    "ports.md",
    "cable.md",
    "way-out.md",
    "oci.md",
];

/// The pages of the parts of step 6. What errors there are, and what leaks at its
/// end, stands in the chapter above them.
const PAGES_OF_PARTS: [&str; 5] =
    ["user", "namespaces", "devices", "capabilities", "seccomp"];

/// How many points the summary of a chapter has.
const POINTS: usize = 5;

/// What begins an exercise, and how many a chapter has at least.
const EXERCISE: (&str, usize) = ("<div class=\"exercise\">", 4);

/// How an exercise begins that asks for more than a guess, with its stars; and
/// how many of them a chapter has at least.
const MADE: [&str; 3] = ["\n**Make** ★", "\n**Measure** ★", "\n**Decide** ★"];
const LEAST_MADE: usize = 2;

fn each_chapter_of_a_step_has_the_same_shape() {
    let mut wrong = Vec::new();
    for chapter in chapters::all() {
        let is_step = ALL[..5]
            .iter()
            .any(|it| chapter.name == format!("{}.md", it.name));
        let is_part = PAGES_OF_PARTS
            .iter()
            .any(|it| chapter.name == format!("step06-full/{it}.md"));
        let is_above = ABOVE.contains(&chapter.name.as_str());
        let shape = match (is_step, is_part, is_above) {
            (true, ..) => &SHAPE[..],
            (_, true, _) => &SHAPE[..8],
            (.., true) => &SHAPE_ABOVE[..],
            _ => continue,
        };
        let headings =
            chapter.text.lines().filter(|line| line.starts_with("## "));
        let mut headings = headings.peekable();
        for section in shape {
            if !headings.any(|it| it.starts_with(section)) {
                wrong.push(format!("{}: no {section:?}", chapter.name));
                break;
            }
        }
        if is_step && headings.last() != Some("## What still leaks now") {
            wrong.push(format!("{}: how it ends", chapter.name));
        }
        let summary = chapter.text.split("## In five lines").nth(1);
        let summary = summary.unwrap_or_default().split("## ").next();
        let points = summary.unwrap_or_default().matches("\n- ").count();
        if points != POINTS {
            wrong.push(format!("{}: {points} points", chapter.name));
        }
        let (exercise, least) = match is_above {
            true => (EXERCISE.0, 3),
            false => EXERCISE,
        };
        let exercises = chapter.text.matches(exercise).count();
        let made = MADE.iter().map(|it| chapter.text.matches(it).count());
        if made.sum::<usize>() < LEAST_MADE {
            wrong.push(format!("{}: too little to make", chapter.name));
        }
        let answers = chapter.text.matches("<summary>").count();
        if exercises < least || answers < exercises {
            wrong.push(format!(
                "{}: {exercises} exercises, {answers} answers",
                chapter.name
            ));
        }
    }
    assert_none(&wrong, "the shape of chapters");
}

/// The pages beside the steps and their parts that have a quiz.
const MORE_WITH_QUIZ: [&str; 3] =
    ["step06-full.md", "step06-full/landlock.md", "kubernetes.md"];

/// Three questions, each with its verdicts, and tests that there are.
fn each_quiz_has_one_right_answer_a_question() {
    let mut suite = Vec::new();
    find_files(&workspace().join("tests/suite"), &mut suite);
    find_files(&workspace().join("step06-full/box/tests"), &mut suite);
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
    let suite: String = suite.iter().map(read).collect();
    let mut wrong = Vec::new();
    for chapter in chapters::all() {
        let name = &chapter.name;
        let has_shape = ALL.iter().any(|it| *name == format!("{}.md", it.name))
            || PAGES_OF_PARTS
                .iter()
                .any(|it| *name == format!("step06-full/{it}.md"));
        let Some((_, quiz)) = chapter.text.split_once("<div class=\"quiz\">")
        else {
            let more = [&MORE_WITH_QUIZ[..], &ABOVE].concat();
            if has_shape || more.contains(&name.as_str()) {
                wrong.push(format!("{name}: no quiz"));
            }
            continue;
        };
        let quiz = quiz.split("</div>").next().unwrap_or_default();
        for number in 1..=3 {
            let start = format!("**{number}.** ");
            let question = quiz.split(&start).nth(1).unwrap_or_default();
            let next = format!("**{}.** ", number + 1);
            let question = question.split(&next).next().unwrap_or_default();
            let answers = question.matches("<summary>").count();
            let right = question.matches("</summary>\n\n**Right.** ").count();
            let false_ones = question.matches("</summary>\n\n**No.** ").count();
            if right != 1 || false_ones < 2 || answers != right + false_ones {
                wrong.push(format!(
                    "{name}: question {number}: {right} right of {answers}"
                ));
            }
        }
        // The name of a test is a sentence, so it has some underscores.
        let cited = quiz.split('`').skip(1).step_by(2);
        let cited = cited.filter(|it| it.matches('_').count() > 2);
        let cited = cited.filter(|it| it.chars().all(|it| !it.is_uppercase()));
        for test in cited {
            if !suite.contains(&format!("fn {test}(")) {
                wrong.push(format!("{name}: no test {test}"));
            }
        }
    }
    assert_none(&wrong, "quizzes");
}

/// The head of a page says it, with the minutes that it takes. The pages that
/// set up a machine begin before there is a workspace.
fn each_page_with_sessions_says_where_they_are_typed() {
    let mut wrong = Vec::new();
    for chapter in chapters::all() {
        let exempt = ["setting-up/", "troubleshooting"];
        if exempt.iter().any(|it| chapter.name.starts_with(it)) {
            continue;
        }
        let is_session = |part: &Part| match part {
            Part::Fence(fence) => fence.language() == "console",
            Part::Prose { .. } => false,
        };
        let is_head = |part: &Part| match part {
            Part::Prose { text, .. } => {
                text.starts_with("{{#minutes ") && !text.contains("typed=no")
            }
            Part::Fence(_) => false,
        };
        let parts = markdown::parts(&chapter.text);
        let session = parts.iter().position(is_session);
        let head = parts.iter().position(is_head);
        if session.is_some() && head.is_none_or(|head| Some(head) > session) {
            wrong.push(format!("{}: no {{{{#minutes …}}}}", chapter.name));
        }
    }
    assert_none(&wrong, "pages that do not say where to type");
}

/// The hand-out of a lab leaves out the code that is the solution. What stands
/// before it must be whole without it.
fn no_sentence_waits_for_code() {
    let mut wrong = Vec::new();
    for chapter in chapters::all() {
        let mut last = (0, "");
        for part in markdown::parts(&chapter.text) {
            let Part::Prose { line, text } = part else {
                last = (0, "");
                continue;
            };
            let shows_code = ["item", "hunk", "diff", "file"]
                .iter()
                .any(|it| text.starts_with(&format!("{{{{#{it} ")));
            if shows_code && last.1.ends_with(':') {
                wrong.push(format!("{}:{}: {}", chapter.name, last.0, last.1));
            }
            if !text.trim().is_empty() {
                last = (line, text);
            }
        }
    }
    assert_none(&wrong, "sentences that end in a colon, before code");
}

fn the_spelling_is_british() {
    let hunspell = needs::tool("hunspell");
    let words = workspace().join("book/words.txt");
    let check = |text: &str| {
        let mut process = Command::new(&hunspell)
            .args(["-l", "-d", "en_GB", "-p"])
            .arg(&words)
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("hunspell can be started");
        let mut input = process.stdin.take().expect("it is a pipe");
        // It may have ended for lack of a dictionary.
        let _ = input.write_all(text.as_bytes());
        drop(input);
        let output = process.wait_with_output().expect("it is our child");
        let unknown = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), unknown)
    };
    if !check("a word\n").0 {
        harness::skip("needs the dictionary hunspell-en-gb");
    }
    let mut wrong = Vec::new();
    for chapter in chapters::all() {
        let (_, unknown) = check(&prose(&chapter));
        let unknown: HashSet<&str> = unknown.lines().collect();
        wrong.extend(
            unknown
                .iter()
                .map(|word| format!("{}: {word}", chapter.name)),
        );
    }
    wrong.sort();
    assert_none(
        &wrong,
        "words that neither hunspell nor book/words.txt knows",
    );
}

/// The words of a chapter, without code, tags and the targets of links. The
/// names of man pages stay.
fn prose(chapter: &Chapter) -> String {
    let mut prose = String::new();
    for part in markdown::parts(&chapter.text) {
        let Part::Prose { text, .. } = part else {
            continue;
        };
        if text.trim_start().starts_with("{{#") {
            // Only what a picture says in words.
            for quoted in text.split('"').skip(1).step_by(2) {
                if text.contains("{{#picture") {
                    prose += &format!("{quoted}\n");
                }
            }
            continue;
        }
        // What is code in HTML is code.
        let text = text.replace("<code>", "`").replace("</code>", "`");
        for piece in spans(&text).into_iter().step_by(2) {
            let mut skipping = None;
            let mut before = ' ';
            for character in piece.chars() {
                match (skipping, character) {
                    (Some(end), character) if end == character => {
                        skipping = None;
                    }
                    (Some(_), _) => {}
                    (None, '<') => skipping = Some('>'),
                    (None, '(') if before == ']' => skipping = Some(')'),
                    (None, character) => prose.push(character),
                }
                before = character;
            }
            prose.push(' ');
        }
        prose.push('\n');
        for reference in manual::references(&text) {
            prose += &format!("{}\n", reference.name);
        }
    }
    prose
}
