//! `ps`.

use std::process::ExitCode;

use common::errors::escaped;
use serde_json::{Value, json};
use step06_life::{Container, Status};

use super::{all, or_one, port::published, print};
use crate::format::{Format, ids};

mod filter;
mod size;

use filter::{Filter, is_wanted};

/// List containers
#[derive(clap::Args)]
pub(crate) struct List {
    /// Show those that have ended, too
    #[arg(short, long)]
    all: bool,
    /// Show the newest, whether it runs or not
    #[arg(short, long)]
    latest: bool,
    /// Show the N newest, whether they run or not
    #[arg(short = 'n', long, value_name = "N")]
    #[arg(allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show those with this id, name, label, status, exited=CODE or
    /// ancestor=IMAGE (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Show how much they have written, and with their images
    #[arg(short, long)]
    size: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Print each container in this form: json, table, or a template as
    /// "{{.Names}} {{.Status}}"
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// The columns, as fields of what [`about`] says, and with their heads.
const COLUMNS: [(&str, &str); 8] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
];

pub(crate) fn list(args: &List) -> anyhow::Result<ExitCode> {
    or_one(|| {
        let rows = args.rows()?;
        if args.quiet {
            return print(&ids(&rows));
        }
        let columns = match args.size {
            true => &COLUMNS[..],
            false => &COLUMNS[..COLUMNS.len() - 1],
        };
        print(&args.format.text(columns, &rows)?)
    })
}

impl List {
    fn rows(&self) -> anyhow::Result<Vec<Value>> {
        // As with Docker, less than none is no limit.
        let last = self.last.filter(|it| *it >= 0);
        let of_all = self.latest.then_some(1).or(last);
        let any = self.all
            || of_all.is_some()
            || self.filter.iter().any(Filter::is_about_status);
        let mut found = Vec::new();
        // The newest first, as with Docker.
        for container in all()?.into_iter().rev() {
            // It may have been removed meanwhile.
            let Ok(status) = container.status() else {
                continue;
            };
            let shown = any || status.is_alive();
            if shown && is_wanted(&self.filter, &container, status) {
                found.push((container, status));
            }
        }
        let most = of_all.and_then(|it| usize::try_from(it).ok());
        found.truncate(most.unwrap_or(usize::MAX));
        let rows = found.iter().map(|(container, status)| {
            let mut row = about(container, *status, self.no_trunc);
            if self.size && !self.quiet {
                row["Size"] = size::text(container)?.into();
            }
            Ok(row)
        });
        rows.collect()
    }
}

/// Under Docker's names.
fn about(container: &Container, status: Status, whole: bool) -> Value {
    let config = &container.config;
    let labels = config.labels.iter().map(|(k, v)| format!("{k}={v}"));
    let id = match whole {
        true => &config.id,
        false => &config.id[..12],
    };
    json!({
        "ID": id,
        "Image": config.image,
        "Command": command(container, whole),
        "CreatedAt": config.created.to_string(),
        "RunningFor": config.created.age() + " ago",
        "State": status.word(),
        "Status": status.text(),
        "Ports": ports(container),
        "Names": config.name,
        "Labels": labels.collect::<Vec<_>>().join(","),
    })
}

/// What runs in it, as Docker shortens it.
fn command(container: &Container, is_whole: bool) -> String {
    let whole = escaped(&container.config.command.join(" "));
    let short: String = whole.chars().take(19).collect();
    match is_whole || short.len() == whole.len() {
        true => format!("\"{whole}\""),
        false => format!("\"{short}…\""),
    }
}

fn ports(container: &Container) -> String {
    let ports = published(container).unwrap_or_default();
    let texts = ports.iter().map(|(out, inside)| format!("{out}->{inside}"));
    texts.collect::<Vec<_>>().join(", ")
}
