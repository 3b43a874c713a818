//! Which rooms of `common` a source file uses.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The names behind the root of the crate in a file whose module is `module`
/// (`["sys", "files"]`), by whatever way they are named there: `crate::…` or as
/// many `super::…` as lead up to it, alone or in braces, in the arguments of a
/// macro or in its rules.
///
/// # Errors
/// What hides from this: another name for the root, all that is in it, a file
/// from elsewhere.
pub(super) fn used(
    tokens: TokenStream,
    module: &[&str],
) -> Result<Vec<String>, String> {
    let mut used = Vec::new();
    let depth = module.len();
    read(tokens, Inside { depth, of: ' ' }, &mut used)?;
    Ok(used)
}

/// Where tokens stand.
#[derive(Clone, Copy)]
struct Inside {
    /// How many times `super` leads to the root.
    depth: usize,
    /// `#` in an attribute, `p` behind `pub`.
    of: char,
}

fn read(
    tokens: TokenStream,
    inside: Inside,
    used: &mut Vec<String>,
) -> Result<(), String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let words: Vec<String> = tokens.iter().map(word).collect();
    let mut at = 0;
    while at < tokens.len() {
        let line = tokens[at].span().start().line;
        let refused = |what: &str| format!("{what}, line {line}");
        check(&words[at..], inside.of).map_err(refused)?;
        let ups = match words[at].as_str() {
            // Of `pub(crate)` it says who may use it.
            "crate" | "super" if inside.of == 'p' && words.len() == 1 => break,
            "crate" => inside.depth,
            "super" => supers(&words[at..]),
            _ => {
                if let TokenTree::Group(group) = &tokens[at] {
                    let inside = enter(group.delimiter(), &words[..at], inside);
                    read(group.stream(), inside, used)?;
                }
                at += 1;
                continue;
            }
        };
        let is_crate = words[at] == "crate";
        at += 3 * if is_crate { 1 } else { ups };
        let is_path = ups > 0 && words[at.min(words.len()) - 1] == ":";
        if !is_path || ups > inside.depth {
            return Err(refused("another name for the root, or for a part"));
        }
        let depth = inside.depth - ups;
        match tokens.get(at) {
            Some(TokenTree::Ident(name)) if depth == 0 => {
                used.push(name.to_string());
            }
            Some(TokenTree::Group(group)) if depth == 0 => {
                used.extend(first_words(group.stream())?);
            }
            // `super::{super::…}`
            Some(TokenTree::Group(group)) => {
                read(group.stream(), Inside { depth, ..inside }, used)?;
            }
            Some(other) if depth > 0 && word(other) != "super" => {}
            _ => return Err(refused("all of the root, or a macro's argument")),
        }
        at += 1;
    }
    Ok(())
}

/// What hides where code comes from, or under which name.
fn check(words: &[String], of: char) -> Result<(), &'static str> {
    let next = words.get(1).map(String::as_str);
    match (words[0].as_str(), next) {
        ("include", Some("!")) => Err("include!"),
        ("extern", Some("crate")) => Err("extern crate"),
        ("path", Some("=")) if of == '#' => Err("#[path]"),
        _ => Ok(()),
    }
}

/// How many times `super::` stands at the beginning.
fn supers(words: &[String]) -> usize {
    let steps = words.chunks_exact(3);
    steps
        .take_while(|step| *step == ["super", ":", ":"])
        .count()
}

/// Where the tokens of a group stand that is behind the words `before`.
fn enter(delimiter: Delimiter, before: &[String], inside: Inside) -> Inside {
    let Inside { depth, of } = inside;
    let words: Vec<&str> = before.iter().map(String::as_str).collect();
    match (delimiter, &words[..]) {
        (Delimiter::Brace, [.., "mod", _]) => Inside {
            depth: depth + 1,
            of: ' ',
        },
        (Delimiter::Bracket, [.., "#"] | [.., "#", "!"]) => {
            Inside { depth, of: '#' }
        }
        (Delimiter::Parenthesis, [.., "pub"]) => Inside { depth, of: 'p' },
        // What is in the parentheses of an attribute is in the attribute.
        _ if of == '#' => inside,
        _ => Inside { depth, of: ' ' },
    }
}

/// Of what is in braces, separated by commas, the first word each.
fn first_words(tokens: TokenStream) -> Result<Vec<String>, String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let parts = tokens.split(|token| word(token) == ",");
    let parts = parts.filter_map(|part| part.first());
    parts
        .map(|first| match first {
            TokenTree::Ident(name) => Ok(name.to_string()),
            other => Err(format!("in braces: {other}")),
        })
        .collect()
}

/// What is no group.
fn word(token: &TokenTree) -> String {
    match token {
        TokenTree::Group(_) => String::new(),
        other => other.to_string(),
    }
}

pub(super) fn no_way_to_another_room_is_overlooked() {
    let used = |source: &str, module: &[&str]| {
        used(source.parse().expect("it has tokens"), module)
    };
    for (source, module) in [
        ("use crate::program::X;", &["sys"][..]),
        ("use crate::{sys, program::X};", &["sys"]),
        ("use {crate::program};", &["sys"]),
        ("use super::program;", &["sys"]),
        ("use super::super::program::X;", &["sys", "files"]),
        ("use self::super::program;", &["sys"]),
        ("mod tests { use super::super::program; }", &["sys"]),
        (
            "mod a { mod b { fn f() { super::super::super::program::x() } } }",
            &["sys"],
        ),
        ("use super::{super::program};", &["sys", "files"]),
        ("use super::{self, super::{program}};", &["sys", "files"]),
        ("fn f() { a!(crate::program::x()) }", &["sys"]),
        (
            "macro_rules! a { () => { $crate::program::x() } }",
            &["sys"],
        ),
        ("pub(in crate::program) fn f() {}", &["sys"]),
        ("pub(crate) use crate::program;", &["sys"]),
    ] {
        let used = used(source, module).unwrap_or_else(|it| panic!("{it}"));
        assert!(used.contains(&"program".to_owned()), "{source}: {used:?}");
    }
    for (source, module) in [
        ("use crate as top;", &["sys"][..]),
        ("use crate::*;", &["sys"]),
        ("use crate::{{program}};", &["sys"]),
        ("use crate::{*};", &["sys"]),
        ("use super::*;", &["sys"]),
        ("use super as top;", &["sys"]),
        ("use super::super as top;", &["sys", "files"]),
        ("use super::super::*;", &["sys", "files"]),
        ("use super::super::super::a;", &["sys", "files"]),
        (
            "macro_rules! a { ($r:ident) => { crate::$r::x() } }",
            &["sys"],
        ),
        ("a!(crate program);", &["sys"]),
        ("a!(crate);", &["sys"]),
        ("a!(super);", &["sys", "files"]),
        ("use super::{super as top};", &["sys", "files"]),
        ("a!(super, super, program);", &["sys", "files"]),
        ("#[path = \"../program.rs\"] mod a;", &["sys"]),
        (
            "#[cfg_attr(unix, path = \"../program.rs\")] mod a;",
            &["sys"],
        ),
        ("include!(\"../program.rs\");", &["sys"]),
        ("extern crate self as top;", &["sys"]),
    ] {
        let passes = used(source, module);
        assert!(passes.is_err(), "{source}: {passes:?}");
    }
    for (source, module) in [
        ("use super::argument;", &["sys", "files"][..]),
        ("pub(super) fn f() {} pub(crate) fn g() {}", &["sys"]),
        ("mod tests { use super::*; }", &["sys"]),
        ("mod tests { use super::*; }", &["sys", "files"]),
        ("// use crate::program;", &["sys"]),
        ("const A: &str = \"crate::program\";", &["sys"]),
        ("fn f() { let path = [1]; }", &["sys"]),
    ] {
        assert_eq!(used(source, module), Ok(vec![]), "{source}");
    }
    // As a name of its own it is none of the rooms.
    let itself = used("use crate::{self as top};", &["sys"]);
    assert_eq!(itself, Ok(vec!["self".to_owned()]));
}
