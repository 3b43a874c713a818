//! What is known of a container, and what it uses.

use std::{process::ExitCode, thread::sleep, time::Duration};

use common::errors;
use serde_json::{Value, json};
use step06_life::{Container, Status, Usage};

use super::{Names, all, list::columns, or_one, print, shown};
use crate::store;

/// Show all that is known of containers, as JSON
#[derive(clap::Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    names: Names,
}

pub(crate) fn inspect(args: &Inspect) -> anyhow::Result<ExitCode> {
    let place = store::place()?;
    let mut found = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for name in &args.names.names {
        let read = Container::find(&place, name).and_then(|it| about(&it));
        match read {
            Ok(value) => found.push(value),
            Err(error) => {
                errors::failure(&error);
                code = ExitCode::FAILURE;
            }
        }
    }
    print(&shown(&format!("{:#}\n", Value::Array(found))))?;
    Ok(code)
}

fn about(container: &Container) -> anyhow::Result<Value> {
    let config = &container.config;
    let status = container.status()?;
    let state = container.state().ok();
    let (finished, code) = match status {
        Status::Exited(moment, code) => (Some(moment.to_string()), Some(code)),
        _ => (None, None),
    };
    let started = container.started()?.map(|it| it.to_string());
    let pid = state.as_ref().map_or(0, |it| it.init.pid);
    let monitor = state.as_ref().map_or(0, |it| it.monitor.pid);
    Ok(json!({
        "Id": config.id,
        "Name": format!("/{}", config.name),
        "Created": config.created.to_string(),
        "Image": config.image,
        "Path": config.command.first(),
        "Args": config.command.get(1..).unwrap_or_default(),
        "LogPath": container.log_path(),
        "HostConfig": { "AutoRemove": config.remove },
        "Config": { "Hostname": config.hostname, "Cmd": config.command },
        "State": {
            "Status": status.word(),
            "Running": status.is_alive(),
            "Paused": matches!(status, Status::Paused(_)),
            "Dead": status == Status::Dead,
            "Pid": pid,
            "MonitorPid": monitor,
            "ExitCode": code,
            "StartedAt": started,
            "FinishedAt": finished,
            "Error": container.messages(),
            "Cgroups": state.map(|it| it.cgroups).unwrap_or_default(),
        },
    }))
}

/// Show what running containers use
#[derive(clap::Args)]
pub(crate) struct Stats {
    /// Containers [default: all that run]
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
    /// Show it once (always so; accepted, as by Docker)
    #[arg(long)]
    no_stream: bool,
}

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
    let heads = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "PIDS"];
    let mut rows = vec![heads.map(str::to_owned)];
    for (container, before) in containers.iter().zip(before) {
        let (Some(before), Some(now)) = (before, usage(container)) else {
            continue;
        };
        rows.push([
            container.config.id[..12].to_owned(),
            container.config.name.clone(),
            processors(&before, &now),
            format!("{} / {}", bytes(now.memory), bytes(now.memory_limit)),
            now.processes.map_or("--".into(), |it| it.to_string()),
        ]);
    }
    print(&columns(&rows))
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
