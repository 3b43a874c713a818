//! Hooks: programs of the host's administrator, and one list of the container's,
//! that are run at six points of its life with the state on standard input.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, Command},
};

use anyhow::{Context, bail, ensure};
use common::sys;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    unistd::Pid,
};
use std::os::fd::AsFd;

use crate::{
    config::{Hook, Process},
    log,
    state::{State, Status},
};

/// Runs them one after the other; the first that fails ends it.
pub(crate) fn run(
    hooks: &[Hook],
    name: &str,
    state: &State,
    status: Status,
) -> anyhow::Result<()> {
    let process = state.config.process.as_ref();
    let inside = process.filter(|_| name == "startContainer");
    // While it is made, hooks of the host's wait for nothing if it is gone.
    let made_for = match status {
        Status::Creating if name != "createContainer" && !hooks.is_empty() => {
            Some(state.process()?)
        }
        _ => None,
    };
    let state = state.json(status).to_string();
    for hook in hooks {
        run_one(hook, &state, inside, made_for.as_ref())
            .with_context(|| format!("{name} hook {:?}", hook.path))?;
    }
    Ok(())
}

/// Runs them all, whatever becomes of each: those after the end. What fails is
/// only told.
pub(crate) fn run_all(
    hooks: &[Hook],
    name: &str,
    state: &State,
    status: Status,
) {
    for hook in hooks {
        let hook = std::slice::from_ref(hook);
        if let Err(error) = run(hook, name, state, status) {
            log::warning(&error);
        }
    }
}

/// Without an environment of its own it has that of who runs it: ours, or if it
/// is `inside` and a program of the container's, that of the container's process.
fn run_one(
    hook: &Hook,
    state: &str,
    inside: Option<&Process>,
    made_for: Option<&OwnedFd>,
) -> anyhow::Result<()> {
    // Files in memory, since a pipe would wait for a hook that does not read, or
    // that leaves a process behind which never closes it.
    let mut input = memory(c"state")?;
    input.write_all(state.as_bytes())?;
    input.rewind()?;
    let mut output = memory(c"output")?;
    let mut command = Command::new(&hook.path);
    if let [name, arguments @ ..] = &hook.args[..] {
        command.arg0(name).args(arguments);
    }
    let own = Some(&hook.env).filter(|env| !env.is_empty());
    if let Some(env) = own.or(inside.map(|process| &process.env)) {
        command.env_clear();
        command.envs(env.iter().filter_map(|it| it.split_once('=')));
    }
    command.stdin(OwnedFd::from(input));
    command.stdout(OwnedFd::from(output.try_clone()?));
    command.stderr(OwnedFd::from(output.try_clone()?));
    let mut child = command.spawn().context("starting it")?;
    wait(&mut child, hook.timeout, made_for)?;
    let ended = child.wait()?;
    let mut said = String::new();
    output.rewind()?;
    // What is no text is not shown.
    let _ = output.take(1024).read_to_string(&mut said);
    ensure!(ended.success(), "{ended}: {}", said.trim());
    Ok(())
}

/// Waits for its end, for so many seconds at most, and as long as the process is
/// there that it is run for: whoever kills that one ends both.
fn wait(
    child: &mut Child,
    seconds: Option<i64>,
    made_for: Option<&OwnedFd>,
) -> anyhow::Result<()> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let process = sys::pidfd_open(pid)?;
    let mut ends = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let made_for =
        made_for.map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN));
    ends.extend(made_for);
    let limit = |seconds: i64| {
        let milliseconds = seconds.saturating_mul(1000);
        PollTimeout::try_from(i32::try_from(milliseconds).unwrap_or(i32::MAX))
    };
    let timeout = seconds.map_or(Ok(PollTimeout::NONE), limit)?;
    let ended = sys::poll(&mut ends, timeout)?;
    if ends[0].any() == Some(true) {
        return Ok(());
    }
    child.kill()?;
    child.wait()?;
    match (ended, seconds) {
        (0, Some(seconds)) => bail!("it was killed after {seconds} seconds"),
        _ => bail!("it was killed: the container's process is gone"),
    }
}

fn memory(name: &std::ffi::CStr) -> anyhow::Result<File> {
    Ok(sys::memfd::executable(name)?.into())
}
