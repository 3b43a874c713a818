//! Variants of a lab: other tasks in some of its holes, so that what solves the
//! lab itself, and is to be found everywhere, does not solve them.
//!
//! `variants/STEP/N.toml` describes one. It stays with the grader, since it has
//! a solution in it.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, bail, ensure};
use lab::{
    build::checkout,
    description::{Lab, Sources},
    edit,
    files::read,
};
use serde::Deserialize;

/// A variant, as its file describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variant {
    /// What is different, a sentence for each hole.
    what: Vec<String>,
    /// What the sources say about it.
    #[serde(rename = "edit")]
    edits: Vec<Edit>,
    /// What is right in the holes that are different.
    pub(crate) holes: BTreeMap<String, String>,
    /// Other hints for them.
    #[serde(default)]
    hints: BTreeMap<String, Vec<String>>,
    /// Other checks.
    #[serde(rename = "check")]
    checks: Vec<Replacement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: String,
    old: String,
    new: String,
}

/// A check in the place of another one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replacement {
    /// What that one is tried by.
    replaces: String,
    name: String,
    #[serde(rename = "try")]
    function: String,
}

/// A lab, or a variant of it.
pub struct Task {
    /// The lab, with the checks of the variant.
    pub lab: Lab,
    /// Which variant it is; 0 is the lab itself.
    pub number: u32,
    pub(crate) variant: Option<Variant>,
}

impl Task {
    /// Variant `number` of the lab of a step.
    ///
    /// # Errors
    /// There is none.
    pub fn load(step: usize, number: u32) -> anyhow::Result<Task> {
        let mut lab = Lab::load(step)?;
        if number == 0 {
            return Ok(Task {
                lab,
                number,
                variant: None,
            });
        }
        let count = count(&lab)?;
        ensure!(
            number <= count,
            "lab {step} has the variants 1 to {count}, and itself, 0"
        );
        let path = directory(&lab).join(format!("{number}.toml"));
        let variant: Variant = toml::from_str(&read(&path)?)
            .with_context(|| format!("reading {path:?}"))?;
        for it in &variant.checks {
            let mut checks = lab.checks.iter_mut();
            let check = checks.find(|check| check.function == it.replaces);
            let check = check.with_context(|| {
                format!("{path:?}: no check {}", it.replaces)
            })?;
            check.name.clone_from(&it.name);
            check.function.clone_from(&it.function);
            lab::checks::find(&it.function)?;
        }
        for (name, hints) in &variant.hints {
            let mut holes = lab.holes.iter_mut();
            let hole = holes.find(|hole| hole.name == *name);
            let hole = hole.with_context(|| format!("no hole {name}"))?;
            hole.hints.clone_from(hints);
        }
        Ok(Task {
            lab,
            number,
            variant: Some(variant),
        })
    }

    /// The sources of the step in which all holes are filled.
    ///
    /// # Errors
    /// What is to be edited is not there any more.
    pub fn solution(&self) -> anyhow::Result<Sources> {
        let mut sources = self.lab.sources(checkout())?;
        let Some(variant) = &self.variant else {
            return Ok(sources);
        };
        for it in &variant.edits {
            let file = format!("{}/{}", self.lab.step, it.file);
            let text = sources.get_mut(&file);
            let text = text.with_context(|| format!("no {file}"))?;
            let found = text.matches(&it.old).count();
            ensure!(found == 1, "{file} has {found} times: {}", it.old);
            *text = text.replace(&it.old, &it.new);
        }
        for (name, solved) in &variant.holes {
            let mut holes = self.lab.holes.iter();
            let hole = holes.find(|hole| hole.name == *name);
            let hole = hole.with_context(|| format!("no hole {name}"))?;
            let [place] = &hole.places[..] else {
                bail!("{name} is in several places");
            };
            let function = place.function.as_ref();
            let function = function.context("a variant of lines")?;
            let text = sources.get_mut(&self.lab.path(place));
            let text = text.context("no such file")?;
            let body = edit::body(text, function)?;
            text.replace_range(body, &format!("\n{solved}"));
        }
        Ok(sources)
    }

    /// What a student reads about it.
    #[must_use]
    pub fn description(&self) -> String {
        let Some(variant) = &self.variant else {
            return String::new();
        };
        let mut text = format!(
            "\n## Variant {}\n\nThis is not quite the step that the book \
             explains. What is different:\n\n",
            self.number
        );
        for sentence in &variant.what {
            text += &format!("- {sentence}\n");
        }
        text + "\nThe documentation above each function says it, too.\n"
    }

    /// The lab's description as a file, in which this variant is: `text` is that
    /// of the lab itself.
    pub(crate) fn describe(&self, text: &str) -> String {
        let mut parts = text.split("\n[[");
        let mut described = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            described += "\n[[";
            described += &self.described(part);
        }
        described
    }

    fn described(&self, part: &str) -> String {
        let Some(variant) = &self.variant else {
            return part.to_owned();
        };
        let value = |key: &str| {
            let mut lines = part.lines();
            let begin = format!("{key} = ");
            lines.find_map(|it| it.strip_prefix(&begin))
        };
        let is = |key: &str, text: &str| {
            value(key) == Some(format!("{text:?}").as_str())
        };
        if let Some(check) =
            variant.checks.iter().find(|it| is("try", &it.replaces))
            && let (Some(name), Some(tried)) = (value("name"), value("try"))
        {
            return part
                .replace(name, &format!("{:?}", check.name))
                .replace(tried, &format!("{:?}", check.function));
        }
        for (hole, hints) in &variant.hints {
            let Some((before, after)) = part.split_once("\nhints = ") else {
                continue;
            };
            if part.starts_with("hole]]") && is("name", hole) {
                // What comes behind the list: a remark about the next part.
                let behind = after.split_once("]\n").map_or("", |it| it.1);
                return format!("{before}\nhints = {hints:?}\n{behind}");
            }
        }
        part.to_owned()
    }
}

fn directory(lab: &Lab) -> PathBuf {
    let all = checkout().join("tests/lab/grader/variants");
    all.join(&lab.step)
}

/// How many variants a lab has.
pub(crate) fn count(lab: &Lab) -> anyhow::Result<u32> {
    let directory = directory(lab);
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("opendir({directory:?})"))?;
    Ok(entries.count().try_into()?)
}

/// Where a student's workspace says which variant it is.
pub(crate) const NOTE: &str = ".lab/variant";

#[cfg(test)]
mod tests {
    use ground::STEPS;

    use super::*;

    #[test]
    fn each_lab_has_variants_and_each_changes_what_is_to_be_done() {
        for step in 1..=STEPS.len() {
            let own = Lab::load(step).expect("a lab");
            let count = count(&own).expect("variants");
            assert!(count >= 2, "lab {step} has {count} variants");
            let mut solutions =
                vec![Task::load(step, 0).unwrap().solution().unwrap()];
            for number in 1..=count {
                let task = Task::load(step, number).expect("a variant");
                assert_eq!(task.lab.points(), own.points());
                let solution = task.solution().expect("it can be made");
                assert!(!solutions.contains(&solution), "{step}.{number}");
                let variant = task.variant.as_ref().unwrap();
                let text = task.description();
                for hole in variant.holes.keys() {
                    assert!(text.contains(&format!("`{hole}`")), "{hole}");
                }
                solutions.push(solution);
            }
            Task::load(step, count + 1)
                .err()
                .expect("there are no more");
        }
    }

    #[test]
    fn a_description_has_what_the_variant_has() {
        for step in 1..=STEPS.len() {
            let text = lab::description::description(step);
            let text = read(&text).expect("it is there");
            for number in 0..=2 {
                let task = Task::load(step, number).expect("a variant");
                let described = task.describe(&text);
                let lab: Lab = toml::from_str(&described).expect("a lab");
                for (one, other) in lab.checks.iter().zip(&task.lab.checks) {
                    assert_eq!(one.name, other.name);
                    assert_eq!(one.function, other.function);
                }
                for (one, other) in lab.holes.iter().zip(&task.lab.holes) {
                    assert_eq!(one.hints, other.hints, "{}", one.name);
                }
            }
        }
    }
}
