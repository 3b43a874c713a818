//! The holes of a lab: taken out of the solution, or filled with it.

use std::{fs, ops::Range};

use anyhow::Context;
use lab::{
    description::{Hole, Lab, Place, Sources, description},
    lines,
};

use crate::edit;

/// Takes out everything, and leaves what panics with the hole's name.
pub(crate) fn starter(
    lab: &Lab,
    complete: &Sources,
) -> anyhow::Result<Sources> {
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
pub(crate) fn fill(
    lab: &Lab,
    students: &Sources,
    solution: &Sources,
    which: impl Fn(&Hole) -> bool,
) -> anyhow::Result<Sources> {
    let mut sources = students.clone();
    for hole in lab.holes.iter().filter(|hole| which(hole)) {
        for place in &hole.places {
            let text = removed(lab, place, solution)?;
            let source = text_of(&mut sources, &lab.path(place))?;
            let range = in_students(place, source, &hole.name)?;
            source.replace_range(range, &text);
        }
    }
    Ok(sources)
}

/// Everything that the starter lacks.
pub(crate) fn all_removed(
    lab: &Lab,
    solution: &Sources,
) -> anyhow::Result<Vec<String>> {
    let places = lab.holes.iter().flat_map(|hole| &hole.places);
    places.map(|place| removed(lab, place, solution)).collect()
}

fn removed(
    lab: &Lab,
    place: &Place,
    solution: &Sources,
) -> anyhow::Result<String> {
    let file = lab.path(place);
    let source = solution.get(&file).context("no such file")?;
    let range = in_solution(place, source).with_context(|| file.clone())?;
    Ok(source[range].to_owned())
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
        None => lines::fenced(source, hole),
    }
}

fn text_of<'a>(
    sources: &'a mut Sources,
    file: &str,
) -> anyhow::Result<&'a mut String> {
    sources.get_mut(file).with_context(|| format!("no {file}"))
}

/// The description of a lab as students get it: without hidden checks, and
/// without the lines that a hole has taken out.
pub(crate) fn description_for_students(
    number: usize,
) -> anyhow::Result<String> {
    let text = fs::read_to_string(description(number))?;
    let parts = text.split("\n[[").enumerate();
    let kept = parts.filter(|(_, part)| !part.contains("\nhidden = true"));
    let kept: Vec<String> = kept
        .map(|(index, part)| match index {
            0 => part.to_owned(),
            _ => format!("\n[[{}", without_lines(part)),
        })
        .collect();
    Ok(kept.concat())
}

/// A part of a description without its `, lines = […]`. A line of Rust may have
/// brackets in it, so the list ends where that of the places goes on.
fn without_lines(part: &str) -> String {
    let mut pieces = part.split(", lines = [");
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (_, rest) = piece.split_once("] }").unwrap_or_default();
        kept += &format!(" }}{rest}");
    }
    kept
}
