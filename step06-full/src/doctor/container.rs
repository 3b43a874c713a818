//! Containers of the doctor's: made as the steps make theirs, but what runs in
//! them is an attempt.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use common::{NewProcess, rootless, sys};
use nix::{mount::MsFlags, sched::CloneFlags, unistd::Pid};
use step05_overlay::OpenLayers;

use super::attempt::{hear, tell};
use crate::{
    inheritance,
    user::{Ids, Options},
};

/// A directory that exists everywhere, and that the root of any user namespace
/// can reach.
pub(super) const ANYWHERE: &str = "/tmp";

/// Runs `attempt` in a process with new `namespaces`, as steps 1 to 5 do.
pub(super) fn in_namespaces(
    namespaces: CloneFlags,
    attempt: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    rootless::become_root()?;
    let mut process = NewProcess::default();
    process.flags |= namespaces;
    run(&process, attempt, |_| Ok(()))
}

/// Runs `attempt` in a process with new `namespaces` and a new user namespace,
/// as step 6 does, with its own view of the `layers`. Returns who is who there.
pub(super) fn in_user_namespace(
    namespaces: CloneFlags,
    mut layers: OpenLayers,
    attempt: impl FnOnce(&OpenLayers) -> anyhow::Result<()>,
) -> anyhow::Result<Ids> {
    let options = Options {
        root_is_root_outside: false,
    };
    let ids = Ids::choose(&options, &mut layers)?;
    let mut process = NewProcess::default();
    process.flags |= namespaces | CloneFlags::CLONE_NEWUSER;
    let container = || {
        ids.become_root()?;
        attempt(&layers)
    };
    run(&process, container, |child| {
        ids.map(child, &layers, &[])?;
        Ok(inheritance::reset_oom_score(child)?)
    })?;
    Ok(ids)
}

/// Creates `process`, has its parent `prepare` what it needs, and waits for
/// what it has to tell of its `attempt`.
pub(super) fn run(
    process: &NewProcess,
    attempt: impl FnOnce() -> anyhow::Result<()>,
    prepare: impl FnOnce(Pid) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (from_child, to_parent) = io::pipe().context("pipe2(O_CLOEXEC)")?;
    let child = process.spawn(|| tell(to_parent, attempt))?;
    prepare(child.pid())?;
    child.start()?;
    child.wait()?;
    let answer = hear(from_child)?;
    let unknown = || anyhow!("the container has ended without a word");
    Ok(answer.with_context(unknown)??)
}

/// A place for a root file system in a mount namespace whose mounts are private:
/// an empty directory in memory, that nobody else sees.
pub(super) fn stage() -> anyhow::Result<PathBuf> {
    step03_mount::make_private()?;
    let none = MsFlags::empty();
    sys::mount("tmpfs", ANYWHERE, "tmpfs", none, "mode=0755")?;
    make_directory(&Path::new(ANYWHERE).join("root"))
}

/// Makes the directory `path`, and returns its name.
pub(super) fn make_directory(path: &Path) -> anyhow::Result<PathBuf> {
    sys::mkdir(path, 0o777)?;
    Ok(path.to_owned())
}
