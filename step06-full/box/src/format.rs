//! How what is listed is printed: `--format`.

use std::str::FromStr;

use common::errors::escaped;
use serde_json::Value;

use crate::{containers::shown, template::Template};

#[derive(Clone, Debug)]
pub(crate) enum Format {
    /// In columns: the usual ones, or those of a template.
    Table(Option<Template>),
    /// A line of JSON for each.
    Json,
    /// Each by a template.
    Each(Template),
}

impl FromStr for Format {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Format> {
        // What a shell leaves as it is.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        Ok(match text.as_str() {
            "table" | "" => Format::Table(None),
            "json" => Format::Json,
            _ => match text.strip_prefix("table ") {
                Some(template) => Format::Table(Some(template.parse()?)),
                None => Format::Each(text.parse()?),
            },
        })
    }
}

impl Format {
    /// These rows, which have `columns`: the names of fields and their heads.
    pub(crate) fn text(
        &self,
        columns: &[(&str, &str)],
        rows: &[Value],
    ) -> anyhow::Result<String> {
        let lines = |template: &Template| {
            let rows = rows.iter();
            rows.map(|row| template.fill(row))
                .collect::<anyhow::Result<Vec<String>>>()
        };
        Ok(match self {
            Format::Json => {
                rows.iter().map(|row| shown(&format!("{row}\n"))).collect()
            }
            Format::Each(template) => {
                lines(template)?.into_iter().map(|it| it + "\n").collect()
            }
            Format::Table(Some(template)) => {
                let heads = template.columns().into_iter();
                let mut table =
                    vec![heads.map(|name| head(columns, &name)).collect()];
                for line in lines(template)? {
                    table.push(line.split('\t').map(str::to_owned).collect());
                }
                in_columns(&table)
            }
            Format::Table(None) => {
                let heads = columns.iter().map(|(_, head)| (*head).to_owned());
                let mut table: Vec<Vec<String>> = vec![heads.collect()];
                for row in rows {
                    let fields = columns.iter().map(|(name, _)| {
                        escaped(row[name].as_str().unwrap_or_default())
                    });
                    table.push(fields.collect());
                }
                in_columns(&table)
            }
        })
    }
}

/// What `--quiet` prints of these rows: a line with the id of each.
pub(crate) fn ids(rows: &[Value]) -> String {
    let ids = rows.iter().filter_map(|row| row["ID"].as_str());
    ids.map(|id| format!("{id}\n")).collect()
}

/// What stands over a field: in Docker's words, the usual ones have others.
fn head(columns: &[(&str, &str)], name: &str) -> String {
    let known = columns.iter().find(|(field, _)| *field == name);
    known.map_or_else(|| name.to_uppercase(), |(_, head)| (*head).to_owned())
}

/// In columns that are as wide as they must be.
pub(crate) fn in_columns(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, field) in widths.iter_mut().zip(row) {
            *width = field.chars().count().max(*width);
        }
    }
    for row in rows {
        let fields = row.iter().zip(&widths);
        let line: String = fields
            .map(|(field, width)| {
                // Wider than the widths of format! may be.
                let gap = width + 3 - field.chars().count();
                field.clone() + &" ".repeat(gap)
            })
            .collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_may_be_as_long_as_it_is() {
        let long = "x".repeat(70_000);
        let row = |first: &str| vec![first.to_owned(), "y".to_owned()];
        let text = in_columns(&[row(&long), row("ä")]);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(&*format!("{long}   y")));
        let second = lines.next().expect("two rows");
        assert_eq!(second.chars().count(), long.len() + 4);
    }
}
