//! Which containers `ps` shows: `--filter KEY=VALUE`, as with Docker.

use std::{mem::discriminant, str::FromStr};

use anyhow::{Context, bail, ensure};
use step06_image::Reference;
use step06_life::{Container, Status};

#[derive(Clone, Debug)]
pub(super) enum Filter {
    /// A part of its name; `^` and `$` mean the ends of it.
    Name(String),
    /// The beginning of its id.
    Id(String),
    Status(String),
    /// `KEY` or `KEY=VALUE`.
    Label(String),
    Exited(u8),
    /// The image that it is of.
    Ancestor(String),
}

const WORDS: [&str; 5] = ["created", "running", "paused", "exited", "dead"];

impl FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Filter> {
        let (key, value) = text.split_once('=').context("it is KEY=VALUE")?;
        Ok(match key {
            "name" => Filter::Name(value.into()),
            "id" => Filter::Id(value.into()),
            "label" => Filter::Label(value.into()),
            "exited" => Filter::Exited(value.parse()?),
            "status" => {
                let all = WORDS.join(", ");
                ensure!(WORDS.contains(&value), "a status is one of {all}");
                Filter::Status(value.into())
            }
            "ancestor" => {
                // In one way, as in what is known of containers.
                let image: anyhow::Result<Reference> = value.parse();
                Filter::Ancestor(
                    image.map_or(value.into(), |it| it.to_string()),
                )
            }
            _ => bail!("invalid filter {key:?}"),
        })
    }
}

impl Filter {
    /// Whoever asks for a status means also those that have ended.
    pub(super) fn is_about_status(&self) -> bool {
        matches!(self, Filter::Status(_))
    }

    fn is_true(&self, container: &Container, status: Status) -> bool {
        let config = &container.config;
        match self {
            Filter::Name(part) => has(&config.name, part),
            Filter::Id(start) => config.id.starts_with(start),
            Filter::Status(word) => status.word() == word,
            Filter::Exited(code) => {
                matches!(status, Status::Exited(_, it) if it == *code)
            }
            Filter::Ancestor(image) => config.image == *image,
            Filter::Label(label) => match label.split_once('=') {
                Some((key, value)) => {
                    config.labels.get(key).is_some_and(|it| it == value)
                }
                None => config.labels.contains_key(label),
            },
        }
    }
}

/// Of Docker's regular expressions, the part that people type. It has a `/` in
/// front of its names.
fn has(name: &str, part: &str) -> bool {
    let (start, part) = match part.strip_prefix('^') {
        Some(part) => (true, part),
        None => (false, part),
    };
    let (end, part) = match part.strip_suffix('$') {
        Some(part) => (true, part),
        None => (false, part),
    };
    let part = part.strip_prefix('/').unwrap_or(part);
    match (start, end) {
        (true, true) => name == part,
        (true, false) => name.starts_with(part),
        (false, true) => name.ends_with(part),
        (false, false) => name.contains(part),
    }
}

/// Of several with the same key one must be true; of labels, all.
pub(super) fn is_wanted(
    filters: &[Filter],
    container: &Container,
    status: Status,
) -> bool {
    filters.iter().all(|one| match one {
        Filter::Label(_) => one.is_true(container, status),
        _ => {
            let same = |it: &&Filter| discriminant(*it) == discriminant(one);
            let mut alike = filters.iter().filter(same);
            alike.any(|it| it.is_true(container, status))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_its_parts() {
        for part in ["we", "^we", "b$", "^web$", "^/web$", "/web", ""] {
            assert!(has("web", part), "{part}");
        }
        for part in ["^eb", "we$", "^we$", "x"] {
            assert!(!has("web", part), "{part}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for bad in ["web", "colour=red", "status=up", "exited=x", "exited=256"]
        {
            bad.parse::<Filter>().expect_err(bad);
        }
    }
}
