//! `port`.

use std::process::ExitCode;

use anyhow::ensure;
use step06_life::Container;

use super::{or_one, print};
use crate::store;

/// List the ports of a container that are published, or where one of them is
#[derive(clap::Args)]
pub(crate) struct Port {
    /// Container: a name, or the beginning of an id
    #[arg(value_name = "CONTAINER")]
    name: String,
    /// A port of the container
    #[arg(value_name = "PORT[/tcp|/udp]")]
    port: Option<String>,
}

pub(crate) fn port(args: &Port) -> anyhow::Result<ExitCode> {
    or_one(|| {
        print(&text(args)?)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn text(args: &Port) -> anyhow::Result<String> {
    let ports = Container::find(&store::place()?, &args.name)?
        .state()?
        .ports;
    let ports = ports.iter().filter_map(|it| it.split_once("->"));
    let Some(port) = &args.port else {
        let all = ports.map(|(out, inside)| format!("{inside} -> {out}\n"));
        return Ok(all.collect());
    };
    let asked = match port.contains('/') {
        true => port.clone(),
        false => format!("{port}/tcp"),
    };
    let found = ports.filter(|(_, inside)| *inside == asked);
    let text: String = found.map(|(out, _)| format!("{out}\n")).collect();
    ensure!(
        !text.is_empty(),
        "no public port {asked:?} of {:?}",
        args.name
    );
    Ok(text)
}
