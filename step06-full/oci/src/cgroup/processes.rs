//! The processes in a cgroup: who they are, stopping them, ending them.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use common::{
    errors,
    host::{
        files::{by_number, read_kernel_file, write_kernel_file},
        paths::open_directory,
    },
    sys,
};
use nix::{errno::Errno, fcntl::OFlag, unistd::Pid};
use step06_full::freezer;

use super::place::{Part, Place};

/// How long processes may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// All processes in this cgroup and in those below. One that has no number in our
/// PID namespace is 0.
pub(super) fn below(directory: &Path) -> anyhow::Result<Vec<Pid>> {
    let mut all = Vec::new();
    walk(directory, &mut |cgroup| {
        match read_kernel_file(cgroup.join("cgroup.procs")) {
            Ok(text) => {
                let text = String::from_utf8_lossy(&text);
                let numbers = text.lines().filter_map(|it| it.parse().ok());
                all.extend(numbers.map(Pid::from_raw));
            }
            // Gone in the meantime; or it has only threads of those above.
            Err(error) if is_gone(error.errno) => {}
            Err(error) if error.errno == Errno::EOPNOTSUPP => {}
            Err(error) => bail!(error),
        }
        Ok(())
    })?;
    Ok(all)
}

/// A cgroup with processes is somebody else's, and they would end with the
/// container.
///
/// # Errors
/// There are some, here or below; or it can't be found out.
pub(super) fn expect_none(directory: &Path) -> anyhow::Result<()> {
    let processes = below(directory)?.len();
    ensure!(
        processes == 0,
        "linux.cgroupsPath: {processes} processes are in the cgroup \
         {directory:?} already, and would share the container's limits"
    );
    Ok(())
}

/// All of them that have a number in our PID namespace. No cgroup: none.
pub(super) fn all(place: &Place) -> anyhow::Result<Vec<Pid>> {
    let Some(part) = place.of("freezer").or(place.parts.first()) else {
        return Ok(Vec::new());
    };
    let mut all = below(&part.directory)?;
    // kill(2) would take it for our own process group.
    all.retain(|pid| pid.as_raw() != 0);
    Ok(all)
}

fn is_gone(errno: Errno) -> bool {
    errno == Errno::ENOENT || errno == Errno::ENODEV
}

/// Visits a cgroup and all below it, the deepest first. One that is gone has
/// none.
///
/// Containers may make some, and deeper ones than a path can be long: so each is
/// reached by a descriptor for the one above it.
fn walk(
    cgroup: &Path,
    visit: &mut dyn FnMut(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let opened = match sys::open(cgroup, OFlag::O_DIRECTORY, 0) {
        Err(error) if is_gone(error.errno) => return Ok(()),
        opened => opened?,
    };
    let here = by_number(&opened);
    let entries = fs::read_dir(&here);
    let entries = entries.with_context(|| format!("reading {cgroup:?}"))?;
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&here.join(entry.file_name()), visit)?;
        }
    }
    visit(cgroup)
}

/// Waits until there is no process in it. If that may be somebody else's, so may
/// be the empty cgroups below.
///
/// # Errors
/// `EBUSY`.
pub(super) fn wait_until_empty(place: &Place) -> anyhow::Result<()> {
    let start = Instant::now();
    for part in &place.parts {
        while !below(&part.directory)?.is_empty() {
            if start.elapsed() > PATIENCE {
                let error = anyhow::Error::from(Errno::EBUSY);
                return Err(error.context(format!("{:?}", part.directory)));
            }
            sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Removes the cgroup and those below. One that is gone is no error; and one
/// that can't be removed keeps none of the others. What was killed gets the time
/// to end.
pub(super) fn remove(place: &Place) -> anyhow::Result<()> {
    let mut first = None;
    let start = Instant::now();
    for part in &place.parts {
        walk(&part.directory, &mut |cgroup| {
            if let Err(error) = remove_one(cgroup, start) {
                first.get_or_insert(error);
            }
            Ok(())
        })?;
    }
    first.map_or(Ok(()), Err)
}

fn remove_one(cgroup: &Path, start: Instant) -> anyhow::Result<()> {
    loop {
        let removed = step04_cgroups::try_remove(cgroup);
        match removed.as_ref().err().and_then(errors::errno) {
            Some(Errno::ENOENT) => return Ok(()),
            Some(Errno::EBUSY) if start.elapsed() < PATIENCE => {}
            _ => return removed,
        }
    }
}

/// What a process needs to get into a cgroup: opened outside, where the kernel
/// looks at who opens it.
#[derive(Default)]
pub(super) struct Doors {
    /// The directory of version 2, for `CLONE_INTO_CGROUP`.
    unified: Option<OwnedFd>,
    /// A file for each of the others.
    files: Vec<OwnedFd>,
}

impl Doors {
    pub(super) fn open(place: &Place) -> anyhow::Result<Doors> {
        let unified = place.unified().map(open_directory).transpose()?;
        let file = |part: &Part| {
            let name = if part.is_v2 { "cgroup.procs" } else { "tasks" };
            sys::open(part.directory.join(name), OFlag::O_WRONLY, 0)
        };
        let parts = match unified {
            Some(_) => &[],
            None => &place.parts[..],
        };
        let files = parts.iter().map(file).collect::<sys::Result<_>>()?;
        Ok(Doors { unified, files })
    }

    /// For [`common::NewProcess::cgroup`].
    pub(super) fn born_in(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling thread in, as far as it was not born there. See
    /// `step04_cgroups::Cgroup::join` about the file and the number.
    pub(super) fn enter(&self) -> sys::Result<()> {
        self.files.iter().try_for_each(|file| sys::write(file, "0"))
    }
}

/// The part that can stop its processes.
fn freezer(place: &Place) -> anyhow::Result<&Part> {
    place
        .of("freezer")
        .context("stopping the container: it has no cgroup with a freezer")
}

/// Stops all processes, and waits until they are. What can't be stopped goes on.
pub(super) fn freeze(place: &Place) -> anyhow::Result<()> {
    let part = freezer(place)?;
    freezer::freeze(&part.directory, part.version())
        .context("stopping the container")
}

pub(super) fn thaw(place: &Place) -> anyhow::Result<()> {
    let part = freezer(place)?;
    freezer::thaw(&part.directory, part.version())
}

pub(super) fn is_frozen(place: &Place) -> bool {
    place
        .of("freezer")
        .is_some_and(|part| freezer::is_frozen(&part.directory, part.version()))
}

/// Sends the signal to all processes.
///
/// For SIGKILL version 2 has a file since Linux 5.14. Elsewhere they are stopped
/// for the time: who forks faster than we count would escape, and a number that
/// becomes free could be somebody else's.
pub(super) fn kill_all(place: &Place, signal: i32) -> anyhow::Result<()> {
    if signal == libc::SIGKILL
        && let Some(directory) = place.unified()
        && write_kernel_file(directory.join("cgroup.kill"), "1").is_ok()
    {
        return Ok(());
    }
    // Who was paused stays so, and is not stopped again: if that fails, all go
    // on. But version 1 doesn't let a stopped process die.
    if is_frozen(place) && signal != libc::SIGKILL {
        return send(place, signal);
    }
    // Without a freezer there is still the second look.
    let frozen = freeze(place).is_ok();
    let sent = send(place, signal);
    if frozen {
        thaw(place)?;
    }
    sent
}

fn send(place: &Place, signal: i32) -> anyhow::Result<()> {
    for pid in all(place)? {
        match sys::signals::kill(pid, signal) {
            Err(error) if error.errno == Errno::ESRCH => {}
            sent => sent?,
        }
    }
    Ok(())
}
