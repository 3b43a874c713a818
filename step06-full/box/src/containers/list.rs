//! `ps`.

use std::process::ExitCode;

use clap::ValueEnum;
use common::errors::escaped;
use serde_json::json;
use step06_life::{Container, Status};

use super::{all, print, shown};

/// List containers
#[derive(clap::Args)]
pub(crate) struct List {
    /// Show those that have ended, too
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print each container in this form
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(crate) fn list(args: &List) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    // The newest first, as with Docker.
    for container in all()?.into_iter().rev() {
        // It may have been removed meanwhile.
        let Ok(status) = container.status() else {
            continue;
        };
        if args.all || status.is_alive() {
            rows.push((container, status));
        }
    }
    let rows = rows.iter();
    let text: String = match (args.quiet, args.format) {
        (true, _) => rows.map(|(it, _)| short(it) + "\n").collect(),
        (_, Format::Json) => {
            rows.map(|(it, status)| json(it, *status)).collect()
        }
        _ => table(rows.map(|(it, status)| row(it, *status)).collect()),
    };
    print(&text)
}

fn short(container: &Container) -> String {
    container.config.id[..12].to_owned()
}

/// What runs in it, as Docker shortens it.
fn command(container: &Container) -> String {
    let whole = escaped(&container.config.command.join(" "));
    let short: String = whole.chars().take(19).collect();
    match short.len() == whole.len() {
        true => format!("\"{whole}\""),
        false => format!("\"{short}…\""),
    }
}

fn ports(container: &Container) -> String {
    let state = container.state().ok();
    state.map_or(String::new(), |it| it.ports.join(", "))
}

fn row(container: &Container, status: Status) -> [String; 7] {
    let config = &container.config;
    [
        short(container),
        escaped(&config.image),
        command(container),
        config.created.age() + " ago",
        status.text(),
        ports(container),
        config.name.clone(),
    ]
}

fn json(container: &Container, status: Status) -> String {
    let config = &container.config;
    let value = json!({
        "ID": short(container),
        "Image": config.image,
        "Command": command(container),
        "CreatedAt": config.created.to_string(),
        "RunningFor": config.created.age() + " ago",
        "State": status.word(),
        "Status": status.text(),
        "Ports": ports(container),
        "Names": config.name,
    });
    shown(&format!("{value}\n"))
}

/// In columns that are as wide as they must be.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, field) in row.iter().enumerate() {
            let fields = rows.iter().map(|it| it[column].chars().count());
            let width = fields.max().unwrap_or(0) + 3;
            line += &format!("{field:width$}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn table(rows: Vec<[String; 7]>) -> String {
    let heads = [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ];
    let mut all = vec![heads.map(str::to_owned)];
    all.extend(rows);
    columns(&all)
}
