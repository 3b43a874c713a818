//! Containers as a whole: what the attempts try one by one meets here, and some
//! failures come only of that, such as too few descriptors.
//!
//! The lines are those of each `main.rs`, but for the image, which need not be
//! there yet, and the command, which is in the image.

use std::{os::fd::AsRawFd, path::Path};

use common::{NewProcess, host::paths::open_directory, process, rootless};
use nix::sched::CloneFlags;
use step04_cgroups::Cgroup;
use step05_overlay::OpenLayers;

use super::{
    abilities::{find, image_directory},
    attempt::in_a_child,
    cgroups::NONE,
    container::{IN_STEP_6, run, stage},
};
use crate::{
    cgroup_files, devices, inheritance, kernel_files, landlock, names,
    namespaces, network, privileges, seccomp, stub, user::Ids,
};

/// Steps 1 to 3, of which the last one needs the most.
pub(super) fn step_3() -> anyhow::Result<()> {
    let _lock = stand_in_for_the_lock()?;
    rootless::become_root()?;
    let mut process = NewProcess::default();
    process.flags |= CloneFlags::CLONE_NEWUTS;
    process.flags |= CloneFlags::CLONE_NEWPID;
    process.flags |= CloneFlags::CLONE_NEWNS;
    run(&process, in_memory, |_| Ok(()))
}

/// Whoever starts a container has locked the list of its image's sources.
fn stand_in_for_the_lock() -> anyhow::Result<impl Sized> {
    open_directory(Path::new("/"))
}

/// A root that is no image, as far as steps 3 and 4 are concerned.
fn in_memory() -> anyhow::Result<()> {
    step01_uts::set_hostname("box")?;
    let root = stage()?;
    step03_mount::mount_root(&root)?;
    step03_mount::mount_proc(&root)?;
    step03_mount::mount_dev(&root)?;
    step03_mount::enter_root(&root)?;
    process::close_own_descriptors(&[])
}

/// The cgroup is made by the process that was started itself: see
/// [`limit`](super::cgroups::limit).
fn in_a_cgroup(
    attempt: impl FnOnce(&Cgroup) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cgroup = Cgroup::create(&NONE)?;
    in_a_child(|| attempt(&cgroup))?;
    Ok(())
}

pub(super) fn step_4() -> anyhow::Result<()> {
    in_a_cgroup(|cgroup| {
        let _lock = stand_in_for_the_lock()?;
        rootless::become_root()?;
        let mut process = NewProcess::default();
        process.flags |= CloneFlags::CLONE_NEWUTS;
        process.flags |= CloneFlags::CLONE_NEWPID;
        process.flags |= CloneFlags::CLONE_NEWNS;
        process.cgroup = cgroup.born_in();
        let container = || {
            cgroup.join()?;
            in_memory()
        };
        run(&process, container, |_| Ok(()))
    })
}

pub(super) fn step_5() -> anyhow::Result<()> {
    in_a_cgroup(|cgroup| {
        let _lock = stand_in_for_the_lock()?;
        let root = image_directory(5)?;
        let layers = find(&root, None)?;
        rootless::become_root()?;
        let mut process = NewProcess::default();
        process.flags |= CloneFlags::CLONE_NEWUTS;
        process.flags |= CloneFlags::CLONE_NEWPID;
        process.flags |= CloneFlags::CLONE_NEWNS;
        process.cgroup = cgroup.born_in();
        let container = || {
            cgroup.join()?;
            step01_uts::set_hostname("box")?;
            step03_mount::make_private()?;
            let root = step05_overlay::mount_root(&root, &layers)?;
            step03_mount::mount_proc(&root)?;
            step03_mount::mount_dev(&root)?;
            step03_mount::enter_root(&root)?;
            process::close_own_descriptors(&[])
        };
        run(&process, container, |_| Ok(()))
    })
}

pub(super) fn step_6() -> anyhow::Result<()> {
    in_a_cgroup(|cgroup| {
        let _lock = stand_in_for_the_lock()?;
        let root = image_directory(6)?;
        let mut layers = find(&root, None)?;
        let ids = Ids::choose(&IN_STEP_6, &mut layers)?;
        let mut process = NewProcess::default();
        process.flags |= CloneFlags::CLONE_NEWUTS;
        process.flags |= CloneFlags::CLONE_NEWPID;
        process.flags |= CloneFlags::CLONE_NEWNS;
        process.flags |= CloneFlags::CLONE_NEWUSER;
        process.flags |= CloneFlags::CLONE_NEWNET;
        process.flags |= CloneFlags::CLONE_NEWIPC;
        process.cgroup = cgroup.born_in();
        let container = || {
            cgroup.join()?;
            ids.become_root()?;
            inside(&root, &layers, cgroup)
        };
        run(&process, container, |child| {
            ids.map(child, &layers, &[])?;
            Ok(inheritance::reset_oom_score(child)?)
        })
    })
}

/// Runs `attempt` with as much open as step 6 has when it creates its process.
pub(super) fn as_open_as_step_6(
    attempt: impl FnOnce(OpenLayers) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    in_a_cgroup(|_| {
        let _lock = stand_in_for_the_lock()?;
        attempt(find(&image_directory(6)?, None)?)
    })
}

/// What step 6 does as root of the user namespace.
fn inside(
    root: &Path,
    layers: &OpenLayers,
    cgroup: &Cgroup,
) -> anyhow::Result<()> {
    inheritance::clear()?;
    namespaces::hide_cgroup_path()?;
    network::loopback_up()?;
    step01_uts::set_hostname("box")?;
    step03_mount::make_private()?;
    let root = step05_overlay::mount_root(root, layers)?;
    step03_mount::mount_proc(&root)?;
    kernel_files::mount_sys(&root)?;
    devices::mount_dev(&root, &devices::HARMLESS)?;
    kernel_files::protect(&root, &kernel_files::DOCKERS)?;
    cgroup_files::mount(&root, cgroup)?;
    // Where the image will be, there may be nothing yet.
    step03_mount::enter_mount_point(&root, "etc")?;
    names::mount_files(&root, "box", false)?;
    step03_mount::enter_root(&root)?;
    privileges::reduce_to(&privileges::KEPT)?;
    landlock::confine()?;
    let stub = stub::make()?;
    seccomp::install(&seccomp::filter())?;
    process::close_own_descriptors(&[stub.as_raw_fd()])
}
