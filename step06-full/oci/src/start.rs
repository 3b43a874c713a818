//! `start`: lets the container's process go on to its program.

use std::{io::Read, os::unix::net::UnixStream};

use anyhow::{Context, bail, ensure};
use common::{
    host::{files::by_number, paths::open_directory},
    process::{
        Change, pass_on, reap,
        signals::{self, Event},
    },
    sys,
};
use nix::{errno::Errno, unistd::Pid};

use crate::{
    delete, hooks, log,
    runtime::Runtime,
    state::{Directory, Status},
};

/// Starts the container `id`.
pub(crate) fn start(runtime: &Runtime, id: &str) -> anyhow::Result<()> {
    let directory = Directory::lock(&runtime.root, id)?;
    let state = directory.load()?;
    let status = directory.status(&state);
    if status != Status::Created {
        bail!("cannot start a container that is {}", status.name());
    }
    ensure!(
        state.config.process.is_some(),
        "cannot start a container that was made without a process"
    );
    let after = &state.config.hooks.after_start;
    let started = open_gate(&directory)
        .and_then(|()| hooks::run(after, "poststart", &state, Status::Running));
    if started.is_err() {
        // It does not run, or is not to: its end is all that is left. But why
        // is what is to be told.
        if let Err(more) = delete::stop_all(&state) {
            log::warning(&more.context("ending the container"));
        }
    }
    started
}

/// Opens the gate, and waits until the program was executed.
fn open_gate(directory: &Directory) -> anyhow::Result<()> {
    let open = open_directory(&directory.path)?;
    let gate = by_number(&open).join("start.sock");
    let mut process = UnixStream::connect(&gate)
        .context("knocking at the gate of the container")?;
    sys::unlink(directory.gate())?;
    let mut said = Vec::new();
    process
        .read_to_end(&mut said)
        .context("the container's process has ended and has not said why")?;
    executed(&said)
}

/// What the process, or the stub that it has become, has said before its end of
/// the connection was closed: nothing, if the program was executed.
pub(crate) fn executed(said: &[u8]) -> anyhow::Result<()> {
    match said {
        [] => Ok(()),
        // The stub's errno, a negative number of four bytes.
        [a, b, c, d @ 0xff] => {
            let errno = i32::from_ne_bytes([*a, *b, *c, *d]);
            let errno = Errno::from_raw(errno.wrapping_neg());
            bail!("exec: {}: {errno}", errno.desc().to_lowercase())
        }
        text => bail!("{}", String::from_utf8_lossy(text)),
    }
}

/// Waits for the end of `pid`, a child of ours, and passes on to it the signals
/// that we get. Returns its exit code.
pub(crate) fn wait(pid: Pid) -> anyhow::Result<u8> {
    loop {
        // It may have ended together with another child, and the kernel tells
        // of both by one signal, which was taken already.
        if let Some((_, Change::Ended(end))) = reap(Some(pid))? {
            return Ok(end.code());
        }
        match signals::next()? {
            Event::Forward(signal) | Event::ForwardToGroup(signal) => {
                pass_on(signal, pid)?;
            }
            Event::ChildChanged | Event::ChildSpoke => {}
        }
    }
}
