//! `{{#name argument "another argument" key=value}}`

use anyhow::{Context, bail};

/// What a chapter asks for.
pub(crate) struct Directive {
    pub(crate) name: String,
    arguments: Vec<String>,
    options: Vec<(String, String)>,
}

/// mdBook's own.
const NOT_OURS: [&str; 5] = [
    "include",
    "playground",
    "rustdoc_include",
    "shiftinclude",
    "title",
];

impl Directive {
    /// The directive that stands alone in this line; `None` if there is none.
    pub(crate) fn parse(line: &str) -> Option<anyhow::Result<Directive>> {
        let inside = line.trim().strip_prefix("{{#")?.strip_suffix("}}")?;
        let name = inside.split_whitespace().next().unwrap_or_default();
        if NOT_OURS.contains(&name) {
            return None;
        }
        Some(words(inside).map(|words| {
            let mut words = words.into_iter();
            let (name, _) = words.next().unwrap_or_default();
            let mut directive = Directive {
                name,
                arguments: Vec::new(),
                options: Vec::new(),
            };
            for (word, option) in words {
                match option {
                    Some(value) => directive.options.push((word, value)),
                    None => directive.arguments.push(word),
                }
            }
            directive
        }))
    }

    /// The arguments, which must be as many as `names`.
    pub(crate) fn arguments<const N: usize>(
        &self,
        names: [&str; N],
    ) -> anyhow::Result<[&str; N]> {
        let given: Vec<&str> =
            self.arguments.iter().map(String::as_str).collect();
        given.try_into().map_err(|_| {
            anyhow::anyhow!("it takes the arguments {}", names.join(" "))
        })
    }

    /// How many arguments there are.
    pub(crate) fn count(&self) -> usize {
        self.arguments.len()
    }

    /// All arguments, as many as there are.
    pub(crate) fn list(&self) -> &[String] {
        &self.arguments
    }

    /// The value of an option; only those in `known` may be given at all.
    pub(crate) fn option(
        &self,
        name: &str,
        known: &[&str],
    ) -> anyhow::Result<Option<&str>> {
        for (key, _) in &self.options {
            if !known.contains(&key.as_str()) {
                bail!("there is no option {key}=");
            }
        }
        let mut options = self.options.iter();
        let found = options.find(|(key, _)| key == name);
        Ok(found.map(|(_, value)| value.as_str()))
    }
}

/// Splits at white space outside of quotes; `key="a value"` is an option.
fn words(text: &str) -> anyhow::Result<Vec<(String, Option<String>)>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', '"', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let (key, after) = match after.strip_prefix('=') {
            Some(after) if is_key(word) => (Some(word), after),
            _ => (None, rest),
        };
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                quoted.split_once('"').context("a quote is not closed")?
            }
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        words.push(match key {
            Some(key) => (key.to_owned(), Some(value.to_owned())),
            None => (value.to_owned(), None),
        });
        rest = after.trim_start();
    }
    Ok(words)
}

fn is_key(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_anything_but_quotes() {
        let line = r#"{{#item a/b.rs run from="let x = {}" docs=no "c d"}}"#;
        let directive = Directive::parse(line).unwrap().unwrap();
        assert_eq!(directive.name, "item");
        assert_eq!(directive.arguments, ["a/b.rs", "run", "c d"]);
        let known = ["from", "docs"];
        let from = directive.option("from", &known).unwrap();
        assert_eq!(from, Some("let x = {}"));
        assert!(directive.option("docs", &["from"]).is_err());
    }

    #[test]
    fn what_belongs_to_mdbook_is_left_alone() {
        assert!(Directive::parse("{{#include x.rs}}").is_none());
        assert!(Directive::parse("see {{#item x y}}").is_none());
    }
}
