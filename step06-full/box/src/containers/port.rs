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

/// Its ports that are published, outside and inside, by their numbers inside: as
/// Docker sorts them.
pub(super) fn published(
    container: &Container,
) -> anyhow::Result<Vec<(String, String)>> {
    let ports = container.state()?.ports;
    let ports = ports.iter().filter_map(|it| it.split_once("->"));
    let own = |(out, inside): (&str, &str)| (out.into(), inside.into());
    let mut ports: Vec<(String, String)> = ports.map(own).collect();
    ports.sort_by_cached_key(|(out, inside)| {
        let number = |text: &str| text.parse::<u16>().unwrap_or(0);
        let (port, protocol) = inside.split_once('/').unwrap_or((inside, ""));
        let (address, outer) = out.rsplit_once(':').unwrap_or(("", out));
        let address = address.to_owned();
        (number(port), protocol.to_owned(), address, number(outer))
    });
    Ok(ports)
}

fn text(args: &Port) -> anyhow::Result<String> {
    let ports = published(&Container::find(&store::place()?, &args.name)?)?;
    let ports = ports.iter();
    let Some(port) = &args.port else {
        let all = ports.map(|(out, inside)| format!("{inside} -> {out}\n"));
        return Ok(all.collect());
    };
    let asked = match port.contains('/') {
        true => port.clone(),
        false => format!("{port}/tcp"),
    };
    let found = ports.filter(|(_, inside)| **inside == asked);
    let text: String = found.map(|(out, _)| format!("{out}\n")).collect();
    ensure!(
        !text.is_empty(),
        "no public port {asked:?} of {:?}",
        args.name
    );
    Ok(text)
}
