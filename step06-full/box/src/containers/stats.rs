//! What containers use.

use std::{process::ExitCode, thread::sleep, time::Duration};

use serde_json::json;
use step06_life::{Container, Usage};

use super::{all, or_one, print};
use crate::{format::Format, store};

/// Show what running containers use
#[derive(clap::Args)]
pub(crate) struct Stats {
    /// Containers [default: all that run]
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
    /// Show it once (always so; accepted, as by Docker)
    #[arg(long)]
    no_stream: bool,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Print each container in this form: json, table, or a template as
    /// "{{.Name}} {{.CPUPerc}}"
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// The columns, as fields of a row, and with their heads.
const COLUMNS: [(&str, &str); 5] = [
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("PIDs", "PIDS"),
];

/// As long as the processors are watched.
const INTERVAL: Duration = Duration::from_millis(500);

pub(crate) fn stats(args: &Stats) -> anyhow::Result<ExitCode> {
    or_one(|| show(args))
}

fn show(args: &Stats) -> anyhow::Result<ExitCode> {
    let place = store::place()?;
    let containers = match args.names.is_empty() {
        true => all()?,
        false => {
            let found = args.names.iter().map(|it| Container::find(&place, it));
            found.collect::<anyhow::Result<_>>()?
        }
    };
    let usage = |it: &Container| it.usage().ok();
    let before: Vec<Option<Usage>> = containers.iter().map(usage).collect();
    sleep(INTERVAL);
    let mut rows = Vec::new();
    for (container, before) in containers.iter().zip(before) {
        let (Some(before), Some(now)) = (before, usage(container)) else {
            continue;
        };
        let id = &container.config.id;
        rows.push(json!({
            "ID": if args.no_trunc { id } else { &id[..12] },
            "Container": id[..12],
            "Name": container.config.name,
            "CPUPerc": processors(&before, &now),
            "MemUsage":
                format!("{} / {}", bytes(now.memory), bytes(now.memory_limit)),
            "PIDs": now.processes.map_or("--".into(), |it| it.to_string()),
        }));
    }
    print(&args.format.text(&COLUMNS, &rows)?)
}

/// 100 % is one of them.
fn processors(before: &Usage, now: &Usage) -> String {
    let (Some(before), Some(now)) = (before.cpu, now.cpu) else {
        return "--".into();
    };
    let used = now.saturating_sub(before).as_secs_f64();
    format!("{:.2}%", 100.0 * used / INTERVAL.as_secs_f64())
}

fn bytes(number: Option<u64>) -> String {
    let Some(number) = number else {
        return "--".into();
    };
    let tenths = |shift: u32| {
        let whole = number >> shift;
        format!(
            "{whole}.{}",
            ((number >> (shift - 10)) & 0x3ff) * 10 / 0x400
        )
    };
    match number {
        0..0x400 => format!("{number}B"),
        0x400..0x10_0000 => tenths(10) + "KiB",
        0x10_0000..0x4000_0000 => tenths(20) + "MiB",
        0x4000_0000..0x1_0000_0000_0000 => tenths(30) + "GiB",
        // What cgroup v1 has for no limit.
        _ => "--".into(),
    }
}
