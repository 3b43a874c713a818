//! Which submissions of a folder look like copies of one another: for a teacher
//! to read, and not a grade.
//!
//! A program is taken for the set of its pieces, so many tokens in a row each,
//! with the names of its own variables as if they were one, and without
//! comments. Pieces that were handed out do not count, nor those of the
//! solution, to which all who are right come near, nor those that many have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, ensure};
use lab::{
    build::checkout,
    description::Sources,
    files::{is_source, read},
};
use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};

use crate::{
    grade::{LARGEST, which},
    grade_all::{submissions, unpacked},
    variant::Task,
};

/// So many tokens are a piece.
const PIECE: usize = 6;

/// Fewer pieces than this in common say nothing.
const FEW: usize = 12;

/// The share of pieces in common from which a pair is shown.
const ALIKE: f64 = 0.5;

type Pieces = BTreeSet<Vec<String>>;

/// Two submissions that are alike.
struct Pair {
    names: [String; 2],
    /// How many pieces they have in common.
    common: usize,
    /// Of the one that has fewer, which share that is.
    share: f64,
}

/// Compares all submissions in a folder, and shows a table.
///
/// # Errors
/// One of them can't be read.
pub fn main(
    folder: &Path,
    step: Option<usize>,
    variant: u32,
) -> anyhow::Result<bool> {
    let mut all = BTreeMap::new();
    let mut number = step;
    for (name, path) in submissions(folder)? {
        let mut compared = || -> anyhow::Result<Sources> {
            let place = tempfile::tempdir()?;
            let directory = unpacked(&path, place.path())?;
            let step = match number {
                Some(step) => step,
                None => which(&directory)?,
            };
            let task = Task::load(step, variant)?;
            number = Some(step);
            let own = directory.join(&task.lab.step).join("src");
            match own.is_dir() {
                true => sources_below(&own),
                false => sources_below(&directory.join("src")),
            }
        };
        // The others are compared all the same.
        match compared() {
            Ok(sources) => drop(all.insert(name, sources)),
            Err(error) => println!("{name}: not compared: {error:#}"),
        }
    }
    let task = Task::load(number.context("no submissions")?, variant)?;
    let mut known: Vec<String> = task.solution()?.into_values().collect();
    let step = checkout().join(&task.lab.step).join("src");
    known.extend(sources_below(&step)?.into_values());
    let starter = lab::holes::starter(&task.lab, &task.solution()?)?;
    known.extend(starter.into_values());
    let known: Vec<&str> = known.iter().map(String::as_str).collect();

    let texts = all.iter().map(|(name, sources)| {
        let text: Vec<&str> = sources.values().map(String::as_str).collect();
        (name.clone(), text)
    });
    let report = compare(&texts.collect(), &known);
    for name in &report.nothing_own {
        println!("{name}: nothing but the solution, or nothing at all");
    }
    for pair in &report.pairs {
        let [one, other] = &pair.names;
        println!(
            "{:>3.0} %  {one}, {other}: {} pieces in common",
            pair.share * 100.0,
            pair.common
        );
    }
    println!(
        "{} of {} pairs are alike. Read them: who is right does what others \
         do who are right",
        report.pairs.len(),
        all.len() * all.len().saturating_sub(1) / 2
    );
    Ok(true)
}

/// All sources below a directory.
fn sources_below(directory: &Path) -> anyhow::Result<Sources> {
    let mut sources = Sources::new();
    let entries = fs::read_dir(directory)
        .with_context(|| format!("opendir({directory:?})"))?;
    for entry in entries {
        let path = entry?.path();
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_dir() {
            sources.extend(sources_below(&path)?);
        } else if kind.is_file() && is_source(&path) {
            let size = path.metadata()?.len();
            ensure!(size <= LARGEST, "{path:?} has {size} bytes");
            sources.insert(path.to_string_lossy().into_owned(), read(&path)?);
        }
    }
    Ok(sources)
}

struct Report {
    /// The most alike come first.
    pairs: Vec<Pair>,
    /// Whose pieces are all known.
    nothing_own: Vec<String>,
}

fn compare(all: &BTreeMap<String, Vec<&str>>, known: &[&str]) -> Report {
    let known: Pieces = known.iter().flat_map(|text| pieces(text)).collect();
    let mut own: BTreeMap<&str, Pieces> = BTreeMap::new();
    let mut owners: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for (name, texts) in all {
        let pieces = texts.iter().flat_map(|text| pieces(text));
        let pieces: Pieces = pieces.filter(|it| !known.contains(it)).collect();
        for piece in &pieces {
            *owners.entry(piece.clone()).or_default() += 1;
        }
        own.insert(name, pieces);
    }
    // Three friends are no crowd.
    let many = (all.len() / 5).max(4);
    for pieces in own.values_mut() {
        pieces.retain(|it| owners[it] <= many);
    }
    let mut pairs = Vec::new();
    let names: Vec<&str> = own.keys().copied().collect();
    for (index, one) in names.iter().enumerate() {
        for other in &names[index + 1..] {
            let (a, b) = (&own[one], &own[other]);
            let common = a.intersection(b).count();
            let fewer = a.len().min(b.len()).max(1);
            #[expect(clippy::cast_precision_loss, reason = "they are few")]
            let share = common as f64 / fewer as f64;
            if common >= FEW && share >= ALIKE {
                let names = [(*one).to_owned(), (*other).to_owned()];
                pairs.push(Pair {
                    names,
                    common,
                    share,
                });
            }
        }
    }
    pairs.sort_by(|a, b| b.share.total_cmp(&a.share));
    let nothing_own = own.iter().filter(|(_, it)| it.len() < FEW);
    let nothing_own = nothing_own.map(|(name, _)| (*name).to_owned()).collect();
    Report { pairs, nothing_own }
}

/// All pieces of a source.
fn pieces(source: &str) -> Vec<Vec<String>> {
    let words = words(source);
    words.windows(PIECE).map(<[String]>::to_vec).collect()
}

/// The tokens of a source. A name that its author has chosen is `_`; what is
/// called, or stands behind a dot or a colon, is somebody else's.
fn words(source: &str) -> Vec<String> {
    let mut at = 0;
    let mut tokens = Vec::new();
    for token in tokenize(source, FrontmatterAllowed::No) {
        let text = &source[at..][..token.len as usize];
        at += text.len();
        match token.kind {
            TokenKind::Whitespace
            | TokenKind::LineComment { .. }
            | TokenKind::BlockComment { .. } => {}
            kind => tokens.push((kind, text)),
        }
    }
    let mut words = Vec::new();
    for (index, (kind, text)) in tokens.iter().enumerate() {
        let next = tokens.get(index + 1).map_or("", |it| it.1);
        let last = index.checked_sub(1).map_or("", |it| tokens[it].1);
        let is_own = matches!(kind, TokenKind::Ident)
            && !KEYWORDS.contains(text)
            && !matches!(next, "(" | "!" | ":")
            && !matches!(last, "." | ":");
        let is_text = matches!(kind, TokenKind::Literal { .. })
            && text.starts_with(['"', 'r']);
        words.push(match (is_own, is_text) {
            (true, _) => "_".to_owned(),
            (_, true) => "\"\"".to_owned(),
            _ => (*text).to_owned(),
        });
    }
    words
}

const KEYWORDS: [&str; 22] = [
    "as", "break", "const", "continue", "else", "enum", "fn", "for", "if",
    "impl", "in", "let", "loop", "match", "mut", "pub", "ref", "return",
    "struct", "unsafe", "use", "while",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file of known submissions has in a hole, as a file of its own.
    fn submission(name: &str) -> String {
        let directory = "tests/lab/grader/submissions/step02-pid";
        let path = checkout().join(directory).join(format!("{name}.toml"));
        let table: toml::Table =
            toml::from_str(&read(&path).expect("it is there")).expect("TOML");
        let part = |key: &str| {
            let table = table.get(key).and_then(toml::Value::as_table);
            let texts = table.into_iter().flat_map(toml::Table::values);
            texts.filter_map(toml::Value::as_str).collect::<String>()
        };
        format!("fn init() {{\n{}\n}}\n{}", part("holes"), part("add"))
    }

    fn alike(all: &[(&str, &str)]) -> Vec<[String; 2]> {
        let solution = checkout().join("step02-pid/src/lib.rs");
        let solution = read(&solution).expect("it is there");
        let all = all.iter().map(|(name, text)| {
            ((*name).to_owned(), vec![solution.as_str(), *text])
        });
        let report = compare(&all.collect(), &[&solution]);
        report.pairs.into_iter().map(|it| it.names).collect()
    }

    #[test]
    fn a_copy_with_other_names_is_found_and_two_honest_ones_are_not() {
        let anna = submission("right-helper");
        let bert = anna
            .replace("command", "kommando")
            .replace("child", "kind")
            .replace("change", "was")
            .replace("signal)", "nummer)")
            .replace(";\n", ";\n    // mine\n");
        let carl = submission("right-if-let");
        let dora = submission("right-one-more-process");
        assert_ne!(anna, bert);
        let all = [
            ("anna", anna.as_str()),
            ("bert", &bert),
            ("carl", &carl),
            ("dora", &dora),
        ];
        assert_eq!(alike(&all), [["anna", "bert"]]);
        assert_eq!(alike(&all[1..]).len(), 0);
    }

    #[test]
    fn names_are_the_same_and_calls_are_not() {
        let one = words("let a = sys::chdir(b)?; // one\nx.f(1)");
        assert_eq!(one, words("let c=sys::chdir ( d ) ? ;y.f(1)"));
        assert_ne!(one, words("let a = sys::chroot(b)?; x.f(1)"));
        assert_ne!(one, words("let a = sys::chdir(b)?; x.f(2)"));
    }
}
