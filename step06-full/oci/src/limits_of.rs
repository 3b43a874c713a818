//! `pause`, `resume`, `update` and `events`: what goes by the container's cgroup.

use std::{fs, io::Read, path::Path, time::Duration};

use anyhow::{Context, bail, ensure};
use serde_json::json;

use crate::{
    config::{self, resources::Resources},
    list,
    options::Update,
    runtime::Runtime,
    state::{Directory, Status},
};

/// Stops all processes of the container `id`.
pub(crate) fn pause(runtime: &Runtime, id: &str) -> anyhow::Result<()> {
    let directory = Directory::lock(&runtime.root, id)?;
    let state = directory.load()?;
    match directory.status(&state) {
        Status::Running | Status::Created => state.cgroup()?.freeze(),
        Status::Stopped => bail!("container not running"),
        status => bail!("cannot pause a container that is {}", status.name()),
    }
}

/// Lets them go on.
pub(crate) fn resume(runtime: &Runtime, id: &str) -> anyhow::Result<()> {
    let directory = Directory::lock(&runtime.root, id)?;
    let state = directory.load()?;
    let cgroup = state.cgroup()?;
    let status = directory.status(&state);
    ensure!(
        cgroup.is_frozen() && !state.has_nothing_left()?,
        "container not paused: {}",
        status.name()
    );
    cgroup.thaw()
}

/// Changes the limits of a container.
pub(crate) fn update(
    runtime: &Runtime,
    options: &Update,
) -> anyhow::Result<()> {
    let directory = Directory::lock(&runtime.root, &options.id)?;
    let state = directory.load()?;
    let status = directory.status(&state);
    ensure!(status != Status::Stopped, "container not running");
    let text = match options.resources.as_deref() {
        Some(path) if path == Path::new("-") => {
            let mut text = Vec::new();
            let read = std::io::stdin().read_to_end(&mut text);
            read.context("reading standard input")?;
            text
        }
        Some(path) => {
            fs::read(path).with_context(|| format!("reading {path:?}"))?
        }
        None => options.as_resources().to_string().into_bytes(),
    };
    let resources: Resources = config::checked(&text, |_| Ok(()))?;
    state.cgroup()?.update(&resources)
}

/// Prints what the container uses: once, or every `interval` until it ends.
pub(crate) fn events(
    runtime: &Runtime,
    id: &str,
    once: bool,
    interval: Duration,
) -> anyhow::Result<()> {
    let directory = Directory::find(&runtime.root, id)?;
    loop {
        let state = directory.load()?;
        let status = directory.status(&state);
        ensure!(status != Status::Stopped, "container not running");
        let data = state.cgroup()?.stats()?;
        let line = json!({"type": "stats", "id": id, "data": data});
        list::print(&line.to_string())?;
        if once {
            return Ok(());
        }
        std::thread::sleep(interval);
    }
}
