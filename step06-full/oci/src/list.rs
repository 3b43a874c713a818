//! `state`, `list` and `ps`: what is to be known of containers.

use std::process::Command;

use anyhow::{Context, ensure};
use common::host::passwd::User;
use serde_json::json;

use crate::{
    options::Format,
    runtime::Runtime,
    state::{Directory, Status},
};

/// Prints the state of the container `id`.
pub(crate) fn state(runtime: &Runtime, id: &str) -> anyhow::Result<()> {
    let directory = Directory::find(&runtime.root, id)?;
    let state = directory.load()?;
    let mut json = state.json(directory.status(&state));
    // Beyond the specification, as other runtimes print it.
    json["rootfs"] = json!(state.rootfs);
    json["created"] = json!(state.created);
    print(&format!("{json:#}"))
}

/// Prints all containers.
pub(crate) fn list(
    runtime: &Runtime,
    format: Format,
    quiet: bool,
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for directory in Directory::all(&runtime.root)? {
        // It may just have been removed, or be as good as new.
        let Ok(state) = directory.load() else {
            continue;
        };
        let mut json = state.json(directory.status(&state));
        json["rootfs"] = json!(state.rootfs);
        json["created"] = json!(state.created);
        json["owner"] = json!(owner(&directory));
        all.push(json);
    }
    let text = |json: &serde_json::Value, name: &str| match &json[name] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "0".into(),
        other => other.to_string(),
    };
    if quiet {
        let ids: Vec<String> = all.iter().map(|it| text(it, "id")).collect();
        return print_lines(&ids);
    }
    if format == Format::Json {
        return print(&json!(all).to_string());
    }
    let names = ["id", "pid", "status", "bundle", "created", "owner"];
    let mut rows = vec![names.map(str::to_uppercase).to_vec()];
    rows.extend(all.iter().map(|json| {
        names
            .iter()
            .map(|name| text(json, name))
            .collect::<Vec<_>>()
    }));
    print_lines(&table(&rows))
}

/// The name of who has made it.
fn owner(directory: &Directory) -> String {
    use std::os::unix::fs::MetadataExt;
    let uid = std::fs::metadata(&directory.path).map_or(0, |it| it.uid());
    User::find(uid).map_or_else(|| uid.to_string(), |user| user.name)
}

fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        let cells: Vec<String> = cells.collect();
        cells.join("   ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Prints the processes of the container `id`: their numbers, or what ps(1)
/// says of them.
pub(crate) fn ps(
    runtime: &Runtime,
    id: &str,
    format: Format,
    options: &[String],
) -> anyhow::Result<()> {
    let directory = Directory::find(&runtime.root, id)?;
    let state = directory.load()?;
    let status = directory.status(&state);
    ensure!(status != Status::Stopped, "container not running");
    let processes = state.cgroup()?.processes()?;
    let numbers: Vec<i32> = processes.iter().map(|it| it.as_raw()).collect();
    if format == Format::Json {
        return print(&json!(numbers).to_string());
    }
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() {
        &default
    } else {
        options
    };
    let output = Command::new("ps").args(options).output();
    let output = output.context("running ps")?;
    let says = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ps: {}", says.trim());
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID");
    let column = column.context("ps prints no column PID")?;
    let is_in = |line: &&str| {
        let field = line.split_whitespace().nth(column);
        let number = field.and_then(|it| it.parse().ok());
        number.is_some_and(|number| numbers.contains(&number))
    };
    let mut shown = vec![head];
    shown.extend(lines.filter(is_in));
    print_lines(&shown)
}

/// Prints to standard output, whose reader may be gone.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}").context("writing to standard output")
}

fn print_lines<T: AsRef<str>>(lines: &[T]) -> anyhow::Result<()> {
    lines.iter().try_for_each(|line| print(line.as_ref()))
}
