//! How the doctor's findings are shown: to people as two tables with notes, to
//! programs as JSON.

use std::{env, fmt::Write};

use common::{errors::Advice, host::machine};
use serde_json::{Value, json};

use super::{ABILITIES, Answer, Diagnosis, Need, attempt::Failure, cgroups};

/// The names of the steps, by their numbers.
pub(super) const STEPS: [&str; 6] = [
    "step01-uts",
    "step02-pid",
    "step03-mount",
    "step04-cgroups",
    "step05-overlay",
    "step06-full",
];

/// What kind of machine it is.
fn machine() -> Vec<String> {
    let mut facts = vec![
        format!("Linux {}", machine::release()),
        env::consts::ARCH.into(),
        cgroups::layout(),
    ];
    for (is_so, fact) in [
        (machine::on_wsl(), "WSL"),
        (machine::check_proc().is_err(), "without a /proc of its own"),
        (machine::in_container(), "in a container"),
        (machine::in_chroot(), "in a chroot"),
        (machine::in_user_namespace(), "in a user namespace"),
        (machine::seccomp_filters(), "system calls are filtered"),
        (machine::apparmor_confines(), "confined by AppArmor"),
        (machine::selinux_enforces(), "SELinux"),
    ] {
        if is_so {
            facts.push(fact.into());
        }
    }
    facts
}

/// Two tables, what was tried and which steps run, and the notes to both.
/// `unknown` says who could not be asked about.
pub(super) fn as_text(
    diagnoses: &[Diagnosis],
    unknown: Option<&str>,
) -> String {
    let mut notes = Notes::default();
    let mut tried = vec![header(diagnoses, "what the steps need")];
    for (index, ability) in ABILITIES.iter().enumerate() {
        let cells = diagnoses.iter().map(|it| match &it.answers[index] {
            Answer::Works => "yes".into(),
            Answer::NotTried => "-".into(),
            Answer::Fails(failure) => match ability.need(&it.caller) {
                Need::Nice => "no".into(),
                _ => format!("no [{}]", notes.number(failure)),
            },
        });
        tried.push([ability.name.into()].into_iter().chain(cells).collect());
    }
    let mut steps = vec![header(diagnoses, "which steps run")];
    for (index, name) in STEPS.into_iter().enumerate() {
        let step = index + 1;
        let cells = diagnoses.iter().map(|it| {
            let (word, mut numbers) = match it.runs(step) {
                true => (
                    "yes",
                    it.limits(step)
                        .map(|(_, failure)| notes.number(failure))
                        .collect::<Vec<_>>(),
                ),
                false => (
                    "no",
                    it.obstacles(step)
                        .map(|failure| notes.number(failure))
                        .collect(),
                ),
            };
            numbers.sort();
            numbers.dedup();
            match numbers[..] {
                [] => word.into(),
                _ => {
                    let numbers: Vec<String> =
                        numbers.iter().map(usize::to_string).collect();
                    let but = if word == "yes" { ", but" } else { "" };
                    format!("{word}{but} [{}]", numbers.join(", "))
                }
            }
        });
        steps.push([name.into()].into_iter().chain(cells).collect());
    }

    let mut text = format!("{}\n\n", machine().join(", "));
    text += &table(&tried);
    text.push('\n');
    text += &table(&steps);
    text += &notes.text(diagnoses);
    if let Some(unknown) = unknown {
        let _ = write!(text, "\n{unknown}\n");
    }
    if !diagnoses[0].caller.is_root {
        text += "\nWhat root can do here: try it with sudo.\n";
    }
    text
}

fn header(diagnoses: &[Diagnosis], first: &str) -> Vec<String> {
    let titles = diagnoses.iter().map(|it| it.caller.title.clone());
    [first.to_owned()].into_iter().chain(titles).collect()
}

/// Columns that are as wide as they must be.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        // The first one is the same in both tables.
        cells
            .max()
            .unwrap_or(0)
            .max(if column == 0 { 27 } else { 18 })
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            let _ = write!(line, "{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// The failures, each under a number. Those with the same cause share one.
#[derive(Default)]
struct Notes(Vec<Failure>);

impl Notes {
    fn number(&mut self, failure: &Failure) -> usize {
        let same = |other: &Failure| match (&failure.advice, &other.advice) {
            (Some(one), Some(other)) => one == other,
            _ => failure == other,
        };
        let found = self.0.iter().position(same);
        1 + found.unwrap_or_else(|| {
            self.0.push(failure.clone());
            self.0.len() - 1
        })
    }

    /// Each with cause, fix, and what it does to the steps.
    fn text(&mut self, diagnoses: &[Diagnosis]) -> String {
        let mut text = String::new();
        for number in 1..=self.0.len() {
            let failure = self.0[number - 1].clone();
            let _ = write!(text, "\n[{number}] {}\n", failure.message);
            if let Some(Advice { cause, fix, page }) = &failure.advice {
                let _ = write!(text, "    cause: {cause}\n    do:    {fix}\n");
                let _ = writeln!(text, "    read:  {page}");
            }
            let mut effects: Vec<String> = Vec::new();
            for diagnosis in diagnoses {
                for (_, need, failure) in diagnosis.missing() {
                    if let (Need::Limit(first, last, limit), true) =
                        (need, self.number(failure) == number)
                    {
                        let when = match last {
                            6 => format!("from step {first} on"),
                            _ => format!("in step {first}"),
                        };
                        let effect = format!("{when} {limit}");
                        if !effects.contains(&effect) {
                            effects.push(effect);
                        }
                    }
                }
            }
            for effect in effects {
                let _ = writeln!(text, "    so:    {effect}");
            }
        }
        text
    }
}

/// An object with the `machine`, and for each caller the `abilities` and the
/// `steps`.
pub(super) fn as_json(diagnoses: &[Diagnosis]) -> String {
    let failure = |failure: &Failure| {
        let advice = failure.advice.as_ref();
        json!({
            "message": failure.message,
            "cause": advice.map(|it| &it.cause),
            "fix": advice.map(|it| &it.fix),
            "page": advice.map(|it| &it.page),
        })
    };
    let callers: Vec<Value> = diagnoses
        .iter()
        .map(|it| {
            let tried = ABILITIES.iter().zip(&it.answers);
            let abilities = tried.filter_map(|(ability, answer)| {
                let error = match answer {
                    Answer::NotTried => return None,
                    Answer::Works => Value::Null,
                    Answer::Fails(it) => failure(it),
                };
                Some(json!({
                    "name": ability.name,
                    "works": error.is_null(),
                    "error": error,
                }))
            });
            let steps = STEPS.into_iter().enumerate().map(|(index, name)| {
                let limits = it.limits(index + 1);
                let limits: Vec<&str> = limits.map(|(it, _)| it).collect();
                json!({
                    "name": name,
                    "runs": it.runs(index + 1),
                    "limits": limits,
                })
            });
            json!({
                "who": it.caller.title,
                "root": it.caller.is_root,
                "abilities": abilities.collect::<Vec<_>>(),
                "steps": steps.collect::<Vec<_>>(),
            })
        })
        .collect();
    let value = json!({ "machine": machine(), "callers": callers });
    format!("{value:#}\n")
}
