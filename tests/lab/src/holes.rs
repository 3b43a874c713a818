//! The holes of a lab: taken out of the solution, or filled with it.

use std::{collections::BTreeMap, ops::Range};

use anyhow::Context;

use crate::{
    bench::{FILLED, random_name},
    description::{Hole, Lab, Place, Sources},
    edit, lines,
};

/// Whether a hole is still as it was handed out.
#[must_use]
pub fn is_empty(name: &str, sources: &Sources) -> bool {
    let todo = format!("todo!(\"the hole `{name}`\")");
    sources.values().any(|text| text.contains(&todo))
}

/// Takes out everything, and leaves what panics with the hole's name.
pub fn starter(lab: &Lab, complete: &Sources) -> anyhow::Result<Sources> {
    let mut sources = complete.clone();
    for hole in &lab.holes {
        for place in &hole.places {
            let source = text_of(&mut sources, &lab.path(place))?;
            let range = in_solution(place, source)?;
            let todo = format!("todo!(\"the hole `{}`\")", hole.name);
            let blanks = edit::indentation(source, range.start);
            let text = match place.function {
                Some(_) => format!("\n{blanks}    {todo}\n{blanks}"),
                None => format!(
                    "{blanks}{}\n{blanks}{todo};\n{blanks}{}\n",
                    lines::fence_above(&hole.name),
                    lines::fence_below(&hole.name)
                ),
            };
            source.replace_range(range, &text);
        }
    }
    Ok(sources)
}

/// Fills, in a student's files, the holes that `which` picks with what the
/// solution has there.
///
/// # Errors
/// A function, or a fence, is not there any more.
pub fn fill(
    lab: &Lab,
    students: &Sources,
    solution: &Sources,
    which: impl Fn(&Hole) -> bool,
) -> anyhow::Result<Sources> {
    let mut sources = students.clone();
    for hole in lab.holes.iter().filter(|hole| which(hole)) {
        for place in &hole.places {
            let text = removed(lab, place, &hole.name, solution)?;
            let source = text_of(&mut sources, &lab.path(place))?;
            let range = in_students(place, source, &hole.name)?;
            source.replace_range(range, &text);
        }
    }
    Ok(sources)
}

/// A student's program that has the solution in each hole as well: which of the
/// two it runs is decided by a variable of its environment, which names the
/// holes that the solution fills. So one build is enough to judge each alone.
pub struct Mixed {
    /// Its sources.
    pub sources: Sources,
    /// What the variable calls each hole: nobody can know it before.
    tokens: BTreeMap<String, String>,
}

impl Mixed {
    /// The variable, for the program in which only `hole` is the student's.
    #[must_use]
    pub fn all_but(&self, hole: &str) -> String {
        let others = self.tokens.iter().filter(|(it, _)| *it != hole);
        let others = others.map(|(_, token)| token.as_str());
        others.collect::<Vec<_>>().join(",")
    }
}

/// Puts the solution beside what the student has in each hole.
///
/// # Errors
/// A function, or a fence, is not there any more.
pub fn mixed(
    lab: &Lab,
    students: &Sources,
    solution: &Sources,
) -> anyhow::Result<Mixed> {
    let mut sources = students.clone();
    let mut tokens = BTreeMap::new();
    for hole in &lab.holes {
        let token = random_name();
        for place in &hole.places {
            let solved = removed(lab, place, &hole.name, solution)?;
            let alternatives = [(token.as_str(), solved.as_str())];
            add_alternatives(lab, hole, place, &mut sources, &alternatives)?;
        }
        tokens.insert(hole.name.clone(), token);
    }
    Ok(Mixed { sources, tokens })
}

/// Puts other texts beside the one that is in a hole. Each of them runs if the
/// variable has its token in it.
///
/// # Errors
/// A function, or a fence, is not there any more.
pub fn add_alternatives(
    lab: &Lab,
    hole: &Hole,
    place: &Place,
    sources: &mut Sources,
    alternatives: &[(&str, &str)],
) -> anyhow::Result<()> {
    let source = text_of(sources, &lab.path(place))?;
    let range = in_students(place, source, &hole.name)?;
    let own = source[range.clone()].to_owned();
    let bound = place.binds.as_deref().unwrap_or_default();
    let mut choice = String::new();
    for (token, text) in alternatives {
        choice += &format!(
            "if ::std::env::var({FILLED:?}).is_ok_and(|filled| \
             filled.contains({token:?})) {{\n{text}\n{bound}\n}} else "
        );
    }
    choice += &format!("{{\n{own}\n{bound}\n}}");
    let choice = match &place.binds {
        Some(name) => format!("let {name} = {choice};\n"),
        None => format!("\n{choice}\n"),
    };
    source.replace_range(range, &choice);
    Ok(())
}

/// What a student has edited that is no hole, in words; `refused` are those for a
/// file in which the holes can't be found.
pub fn edits_outside(
    lab: &Lab,
    students: &Sources,
    starter: &Sources,
    refused: &str,
) -> Vec<String> {
    let edit = |file: &String| {
        let edited = edited_outside(lab, file, students, starter);
        edited.map_or_else(
            |error| Some(format!("{refused}: {error:#}")),
            |lines| {
                let (first, last) = lines?;
                Some(format!(
                    "{file}, lines {first} to {last}: edited outside of the \
                     holes"
                ))
            },
        )
    };
    students.keys().filter_map(edit).collect()
}

/// Which lines of a student's file are another text than the starter has there,
/// outside of the holes: the first and the last of them.
///
/// # Errors
/// A function, or a fence, is not there any more.
pub fn edited_outside(
    lab: &Lab,
    file: &str,
    students: &Sources,
    starter: &Sources,
) -> anyhow::Result<Option<(usize, usize)>> {
    let emptied = |sources: &Sources| -> anyhow::Result<String> {
        let mut sources = sources.clone();
        for hole in &lab.holes {
            for place in &hole.places {
                if lab.path(place) != file {
                    continue;
                }
                let source = text_of(&mut sources, file)?;
                let range = in_students(place, source, &hole.name)?;
                // As many lines, so that the others keep their numbers.
                let lines = source[range.clone()].matches('\n').count();
                source.replace_range(range, &format!("\0{lines}\0"));
            }
        }
        Ok(sources.remove(file).unwrap_or_default())
    };
    let (own, ours) = (emptied(students)?, emptied(starter)?);
    let (own, ours) = (numbered(&own), numbered(&ours));
    let same = |(a, b): &(&(usize, String), &(usize, String))| a.1 == b.1;
    let before = own.iter().zip(&ours).take_while(same).count();
    if before == own.len() && before == ours.len() {
        return Ok(None);
    }
    let rest = own.len().min(ours.len()) - before;
    let behind = own.iter().rev().zip(ours.iter().rev()).take(rest);
    let behind = behind.take_while(same).count();
    let line = |index: usize| own.get(index).map_or(1, |it| it.0);
    let first = line(before.min(own.len().saturating_sub(1)));
    let last = line((own.len() - behind).saturating_sub(1));
    Ok(Some((first, last.max(first))))
}

/// The lines that say something, with their numbers. What stands for a hole
/// counts for as many lines as it has.
fn numbered(text: &str) -> Vec<(usize, String)> {
    let mut number = 1;
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut parts = line.split('\0');
        let before = parts.next().unwrap_or_default();
        let hidden: usize =
            parts.next().and_then(|it| it.parse().ok()).unwrap_or(0);
        let after = parts.next().unwrap_or_default();
        let said = format!("{before}{after}");
        if !said.trim().is_empty() {
            lines.push((number, said));
        }
        number += 1 + hidden;
    }
    lines
}

/// What is in a hole.
///
/// # Errors
/// A function, or a fence, is not there any more.
pub fn in_hole(
    lab: &Lab,
    hole: &Hole,
    sources: &Sources,
) -> anyhow::Result<String> {
    let mut text = String::new();
    for place in &hole.places {
        let source = sources.get(&lab.path(place)).context("no such file")?;
        text += &source[in_students(place, source, &hole.name)?];
    }
    Ok(text)
}

/// Everything that the starter lacks.
pub fn all_removed(
    lab: &Lab,
    solution: &Sources,
) -> anyhow::Result<Vec<String>> {
    let places = lab
        .holes
        .iter()
        .flat_map(|hole| hole.places.iter().map(move |it| (hole, it)));
    places
        .map(|(hole, place)| removed(lab, place, &hole.name, solution))
        .collect()
}

fn removed(
    lab: &Lab,
    place: &Place,
    hole: &str,
    solution: &Sources,
) -> anyhow::Result<String> {
    let file = lab.path(place);
    let source = solution.get(&file).context("no such file")?;
    let range = match place.lines.is_empty() && place.function.is_none() {
        // A student does not know the lines; what is sealed has fences.
        true => in_students(place, source, hole),
        false => in_solution(place, source),
    };
    Ok(source[range.with_context(|| file.clone())?].to_owned())
}

fn in_solution(place: &Place, source: &str) -> anyhow::Result<Range<usize>> {
    match &place.function {
        Some(name) => edit::body(source, name),
        None => lines::lines(source, &place.lines),
    }
}

fn in_students(
    place: &Place,
    source: &str,
    hole: &str,
) -> anyhow::Result<Range<usize>> {
    match &place.function {
        Some(name) => edit::body(source, name),
        // Whoever hands in the solution has no fences, and its lines.
        None => lines::fenced(source, hole).or_else(|error| {
            lines::lines(source, &place.lines).map_err(|_| error)
        }),
    }
}

fn text_of<'a>(
    sources: &'a mut Sources,
    file: &str,
) -> anyhow::Result<&'a mut String> {
    sources.get_mut(file).with_context(|| format!("no {file}"))
}
