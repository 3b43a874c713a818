//! The first run of each subject: does it work here, and what memory does it
//! take?

use std::{
    ffi::OsString,
    fs,
    io::{Read, Seek},
    path::Path,
    process::Stdio,
};

use anyhow::Context;
use nix::unistd::Pid;

use crate::{
    measure::{self, Outcome, command},
    report::LeftOut,
    subjects::{Kind, Maker, Subject},
};

/// Runs `subject` once. On failure the reason is what it said first.
pub(crate) fn works(subject: &Subject) -> anyhow::Result<Result<(), LeftOut>> {
    let mut stderr = tempfile::tempfile().context("a temporary file")?;
    let mut command = command(&subject.command)?;
    command.stderr(stderr.try_clone().context("dup()")?);
    let reason = match measure::run(&mut command) {
        Ok(Outcome::Done(_)) => return Ok(Ok(())),
        Ok(Outcome::Failed(reason)) => reason,
        Err(error) => format!("{error:#}"),
    };
    let mut text = Vec::new();
    stderr.rewind().context("lseek()")?;
    stderr.read_to_end(&mut text).context("read()")?;
    let text = String::from_utf8_lossy(&text);
    let first = text.lines().find(|line| !line.trim().is_empty());
    let name = subject.name.clone();
    let reason = match first {
        Some(line) => format!("{reason}: {}", line.trim()),
        None => reason,
    };
    Ok(Err(LeftOut { name, reason }))
}

/// The most memory, in KiB, that any one process of a run was resident with,
/// if the run tells: the tool, or a process that it has waited for.
pub(crate) fn peak_memory(
    programs: &Path,
    subject: &Subject,
) -> anyhow::Result<Option<u64>> {
    let mut output = tempfile::tempfile().context("a temporary file")?;
    let memory: OsString = programs.join("memory").into();
    let line: Vec<OsString> = [memory]
        .into_iter()
        .chain(subject.command.clone())
        .collect();
    let mut command = command(&line)?;
    command.stdout(output.try_clone().context("dup()")?);
    let Outcome::Done(_) = measure::run(&mut command)? else {
        return Ok(None);
    };
    let mut text = String::new();
    output.rewind().context("lseek()")?;
    output.read_to_string(&mut text).context("read()")?;
    Ok(text.trim().parse().ok())
}

/// The peak memory, in KiB, of a step's supervisor alone: the parent, while
/// the command in its container waits.
pub(crate) fn supervisor_memory(
    maker: &Maker,
    subject: &Subject,
) -> anyhow::Result<Option<u64>> {
    let Kind::Step(number) = subject.kind else {
        return Ok(None);
    };
    let line = maker.step(number, "wait", &[]);
    let (read, write) = nix::unistd::pipe().context("pipe()")?;
    let mut command = command(&line)?;
    command.stdin(Stdio::from(read));
    let running = measure::start(&mut command)?;
    drop(command);
    // What it needs for the start is behind it when the command runs.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let peak = high_water_mark(running.pid);
    drop(write);
    measure::wait(&running)?;
    Ok(peak)
}

/// `VmHWM`, see proc(5).
fn high_water_mark(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
