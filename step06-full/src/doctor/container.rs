//! Containers of the doctor's: made as the steps make theirs, but what runs in
//! them is an attempt.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use common::{NewProcess, process, rootless, sys};
use nix::{mount::MsFlags, sched::CloneFlags, unistd::Pid};
use step05_overlay::OpenLayers;

use super::slate::Slate;
use crate::{
    inheritance,
    user::{Ids, Options},
};

/// A directory that exists everywhere, and that the root of any user namespace
/// can reach.
pub(super) const ANYWHERE: &str = "/tmp";

/// Who is who, if nothing else is asked for.
pub(super) const IN_STEP_6: Options = Options {
    root_is_root_outside: false,
};

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
    let ids = Ids::choose(&IN_STEP_6, &mut layers)?;
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

/// Creates the `new` process, has its parent `prepare` what it needs, and waits for
/// what it has to tell of its `attempt`.
pub(super) fn run(
    new: &NewProcess,
    attempt: impl FnOnce() -> anyhow::Result<()>,
    prepare: impl FnOnce(Pid) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let slate = Slate::new()?;
    let child = new.spawn(|| {
        slate.note(attempt);
        process::exit(0)
    })?;
    prepare(child.pid())?;
    child.start()?;
    child.wait()?;
    let unknown = || anyhow!("the container has ended without a word");
    Ok(slate.read().with_context(unknown)??)
}

/// A place for a root file system in a mount namespace whose mounts are private:
/// an empty directory in memory, that nobody else sees.
pub(super) fn stage() -> anyhow::Result<PathBuf> {
    step03_mount::make_private()?;
    let none = MsFlags::empty();
    sys::mount("tmpfs", ANYWHERE, "tmpfs", none, "mode=0755")?;
    make_directory(&Path::new(ANYWHERE).join("root"))
}

/// Makes the directory `path`, whatever the umask is, and returns its name.
pub(super) fn make_directory(path: &Path) -> anyhow::Result<PathBuf> {
    sys::mkdir(path, 0o700)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
        .with_context(|| format!("chmod({path:?}, 0755)"))?;
    Ok(path.to_owned())
}
