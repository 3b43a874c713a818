//! What is known of a container.

use std::{process::ExitCode, str::FromStr};

use common::errors;
use serde_json::{Map, Value, json};
use step06_life::{Container, Status};

use super::{Names, print, shown};
use crate::{store, template::Template};

/// Show all that is known of containers, as JSON
#[derive(clap::Args)]
pub(crate) struct Inspect {
    /// Print this of each of them: json, or a template as "{{.State.Pid}}"
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<Form>,
    #[command(flatten)]
    names: Names,
}

#[derive(Clone)]
enum Form {
    Json,
    Template(Template),
}

impl FromStr for Form {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Form> {
        Ok(match text {
            "json" => Form::Json,
            _ => Form::Template(text.parse()?),
        })
    }
}

pub(crate) fn inspect(args: &Inspect) -> anyhow::Result<ExitCode> {
    let place = store::place()?;
    let mut found = Vec::new();
    let mut lines = String::new();
    let mut code = ExitCode::SUCCESS;
    for name in &args.names.names {
        let read = Container::find(&place, name).and_then(|it| about(&it));
        let read = read.and_then(|value| {
            if let Some(Form::Template(template)) = &args.format {
                lines += &(template.fill(&value)? + "\n");
            }
            Ok(value)
        });
        match read {
            Ok(value) => found.push(value),
            Err(error) => {
                errors::failure(&error);
                code = ExitCode::FAILURE;
            }
        }
    }
    let all = Value::Array(found);
    print(&match args.format {
        None => shown(&format!("{all:#}\n")),
        Some(Form::Json) => shown(&format!("{all}\n")),
        Some(Form::Template(_)) => lines,
    })?;
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
    let published = state.as_ref().map(|it| it.ports.clone());
    let published = published.unwrap_or_default();
    let environment = config.environment.iter();
    let environment = environment.map(|(key, value)| format!("{key}={value}"));
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
        "Config": {
            "Hostname": config.hostname,
            "Image": config.image,
            "Cmd": config.command,
            "Env": environment.collect::<Vec<_>>(),
            "User": config.user.as_deref().unwrap_or_default(),
            "WorkingDir": config.workdir.clone().unwrap_or_default(),
            "Tty": config.tty,
            "Labels": config.labels,
        },
        "NetworkSettings": { "Ports": ports(&published) },
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

/// As Docker has it: for each port inside, where it is outside.
fn ports(published: &[String]) -> Value {
    let mut ports = Map::new();
    for (out, inside) in published.iter().filter_map(|it| it.split_once("->")) {
        let (ip, port) = out.rsplit_once(':').unwrap_or(("", out));
        let places = ports.entry(inside).or_insert(json!([]));
        if let Value::Array(places) = places {
            places.push(json!({ "HostIp": ip, "HostPort": port }));
        }
    }
    ports.into()
}
