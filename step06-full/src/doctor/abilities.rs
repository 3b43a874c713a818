//! What the steps need, and for each the attempt that shows whether it is there.
//!
//! An attempt calls the function of a step that needs it, in a container with
//! as little else as will do, so that an error is the one that the step would
//! meet. What it changes (namespaces, mounts, identity) ends with it.

use std::{
    env, fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, bail, ensure};
use common::{
    NewProcess,
    host::{files::path_of, paths::open_directory},
    rootfs, rootless,
};
use nix::{
    errno::Errno,
    sched::CloneFlags,
    sys::statvfs::{FsFlags, statvfs},
};
use step04_cgroups::{Cgroup, Limits};
use step05_overlay::{Layers, OpenLayers, mount_root};

use super::{
    Ability,
    Need::{self, *},
    attempt::unwarned,
    cgroups::{NONE, limit},
    container::{
        ANYWHERE, in_namespaces, in_user_namespace, make_directory, run, stage,
    },
};
use crate::{
    cgroup_files, devices, inheritance, kernel_files, landlock, names,
    namespaces, network, privileges, seccomp, stub, user::Ids,
};

/// In the order in which the steps come to need them.
pub(super) const ABILITIES: &[Ability] = &[
    ability("processes by clone3", clone3, BY_CLONE, BY_CLONE),
    ability("user namespace", user_namespace, From(6), From(1)),
    ability("root in a user namespace", become_root, Never, From(1)),
    ability("UTS namespace", uts_namespace, From(1), From(1)),
    ability("PID namespace", pid_namespace, From(2), From(2)),
    ability("mount namespace", mount_namespace, From(3), From(3)),
    ability("place for the image", image_place, From(3), From(3)),
    ability("programs in the image", executable, IN_PLACE, IN_PLACE),
    ability("proc file system", proc, From(3), From(3)),
    ability("pivot_root", new_root, From(3), From(3)),
    ability("limit on memory", memory, NO_MEMORY, NO_MEMORY).here(),
    ability("limit on CPU time", cpu, NO_CPU, NO_CPU).here(),
    ability("limit on processes", pids, NO_PIDS, NO_PIDS).here(),
    ability("overlay file system", overlay, From(5), From(5)),
    ability("overlay with --upper here", upper_here, NOT_HERE, NOT_HERE),
    ability("deletions kept in memory", deletions, NO_RM_5, NO_RM_5),
    ability("proc in a user namespace", users_proc, From(6), Never),
    ability("overlay in a user namespace", users_overlay, From(6), Never),
    ability("deletions in such a one", users_deletions, NO_RM_6, Never),
    ability("network namespace", network_namespace, From(6), From(6)),
    ability("IPC namespace", ipc_namespace, From(6), From(6)),
    ability("cgroup namespace", cgroup_namespace, From(6), From(6)),
    ability("ids of an image", mapped_image, From(6), Never),
    ability("overlay on mapped ids", mapped_overlay, From(6), Never),
    ability("--upper here, ids mapped", mapped_upper, NOT_HERE_6, Never),
    ability("more than one id", granted_ids, Never, ONE_ID),
    ability("nothing is inherited", nothing_inherited, From(6), From(6)),
    ability("sysfs", sysfs, From(6), From(6)),
    ability("devices of its own", own_devices, From(6), From(6)),
    ability("covers of kernel files", covers, From(6), From(6)),
    ability("programs in memory", program_in_memory, From(6), From(6)),
    ability("fewer capabilities", fewer_capabilities, From(6), From(6)),
    ability("seccomp filter", seccomp_filter, From(6), From(6)),
    ability("second wall (Landlock)", second_wall, ONE_WALL, ONE_WALL),
    ability("QEMU (for contributors)", qemu, Nice, Nice),
];

const BY_CLONE: Need = Limit(1, "its process is made by clone");
/// Later steps show the image by an overlay, which is executable.
const IN_PLACE: Need = Within(3, 4);
const NO_MEMORY: Need = Limit(4, "memory is not limited");
const NO_CPU: Need = Limit(4, "CPU time is not limited");
const NO_PIDS: Need = Limit(4, "the number of processes is not limited");
const NOT_HERE: Need = Limit(5, "--upper needs another directory");
const NOT_HERE_6: Need = Limit(6, "--upper needs another directory");
const NO_RM_5: Need = Limit(5, NO_RM);
const NO_RM_6: Need = Limit(6, NO_RM);
const NO_RM: &str = "`rm -r` of a directory of the image needs --upper DIR";
const ONE_WALL: Need = Limit(6, "the first wall stands alone");
const ONE_ID: Need = Limit(6, "root is the only user inside");

const fn ability(
    name: &'static str,
    attempt: fn() -> anyhow::Result<()>,
    root: Need,
    user: Need,
) -> Ability {
    let is_tried_here = false;
    Ability {
        name,
        attempt,
        is_tried_here,
        root,
        user,
    }
}

impl Ability {
    const fn here(self) -> Ability {
        let is_tried_here = true;
        Ability {
            is_tried_here,
            ..self
        }
    }
}

const NO_NAMESPACE: CloneFlags = CloneFlags::empty();
const UTS: CloneFlags = CloneFlags::CLONE_NEWUTS;
const PID: CloneFlags = CloneFlags::CLONE_NEWPID;
const MOUNT: CloneFlags = CloneFlags::CLONE_NEWNS;
const NETWORK: CloneFlags = CloneFlags::CLONE_NEWNET;
const IPC: CloneFlags = CloneFlags::CLONE_NEWIPC;

/// Without arguments it makes no process, but it tells `EINVAL` (the kernel has
/// it) from `ENOSYS`.
fn clone3() -> anyhow::Result<()> {
    // SAFETY: the structure has no bytes, so the kernel reads none.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0) };
    match Errno::result(result) {
        Err(Errno::EINVAL) | Ok(_) => Ok(()),
        Err(errno) => Err(errno).context("clone3()"),
    }
}

/// Steps 1 to 5 become root in it, step 6 creates its process with it.
fn user_namespace() -> anyhow::Result<()> {
    let mut process = NewProcess::default();
    process.flags |= CloneFlags::CLONE_NEWUSER;
    run(&process, || Ok(()), |_| Ok(()))
}

fn become_root() -> anyhow::Result<()> {
    rootless::become_root()
}

fn uts_namespace() -> anyhow::Result<()> {
    in_namespaces(UTS, || step01_uts::set_hostname("box"))
}

fn pid_namespace() -> anyhow::Result<()> {
    in_namespaces(PID, || Ok(()))
}

fn mount_namespace() -> anyhow::Result<()> {
    in_namespaces(MOUNT, step03_mount::make_private)
}

fn image_place() -> anyhow::Result<()> {
    rootfs::try_default()
}

/// Looks at the file system of the image itself, on which steps 3 and 4 execute
/// its programs. To try it would take an image, and none may be left.
fn executable() -> anyhow::Result<()> {
    let image = image_directory()?;
    let status =
        statvfs(&image).with_context(|| format!("statfs({image:?})"))?;
    ensure!(
        !status.flags().contains(FsFlags::ST_NOEXEC),
        "{image:?} is mounted noexec"
    );
    Ok(())
}

/// The directory that the default root file system is in, or will be.
fn image_directory() -> anyhow::Result<PathBuf> {
    let image = rootfs::default_dir()?;
    let mut existing = image.ancestors().filter(|dir| dir.exists());
    // Nothing can cover "/".
    let found = existing.next().filter(|dir| dir.parent().is_some());
    Ok(found.unwrap_or(Path::new(ANYWHERE)).to_owned())
}

fn mount_proc() -> anyhow::Result<()> {
    step03_mount::mount_proc(&stage()?)
}

fn proc() -> anyhow::Result<()> {
    in_namespaces(MOUNT | PID, mount_proc)
}

fn new_root() -> anyhow::Result<()> {
    in_namespaces(MOUNT, || {
        let root = stage()?;
        step03_mount::mount_root(&root)?;
        step03_mount::mount_dev(&root)?;
        step03_mount::enter_root(&root)
    })
}

fn memory() -> anyhow::Result<()> {
    let memory = Some(64 << 20);
    limit(&Limits { memory, ..NONE })
}

fn cpu() -> anyhow::Result<()> {
    let cpus = Some(0.5);
    limit(&Limits { cpus, ..NONE })
}

fn pids() -> anyhow::Result<()> {
    let pids_limit = Some(64);
    limit(&Limits { pids_limit, ..NONE })
}

/// The image alone, and these layers of ours above it.
fn find(root: &Path, upper: Option<PathBuf>) -> anyhow::Result<OpenLayers> {
    let lower = Vec::new();
    Layers { lower, upper }.find(root)
}

/// Mounts an overlay of `root` where it would be in a step.
fn mount_overlay(root: &Path, layers: &OpenLayers) -> anyhow::Result<()> {
    step03_mount::make_private()?;
    mount_root(root, layers).map(drop)
}

/// What is written goes to memory.
fn overlay() -> anyhow::Result<()> {
    let root = image_directory()?;
    let layers = find(&root, None)?;
    in_namespaces(MOUNT, || mount_overlay(&root, &layers))
}

/// The same with what is written in the current directory.
fn upper_here() -> anyhow::Result<()> {
    with_upper_here(|root, layers| {
        in_namespaces(MOUNT, || mount_overlay(root, &layers))
    })
}

/// Calls `attempt` with an image and layers that are here, and not for longer.
fn with_upper_here(
    attempt: impl FnOnce(&Path, OpenLayers) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let place = PathBuf::from(format!(".doctor.{}", process::id()));
    let made = fs::DirBuilder::new().mode(0o700).create(&place);
    made.with_context(|| format!("mkdir({place:?})"))?;
    let root = place.join("image");
    let tried = make_directory(&root)
        .and_then(|_| path_of(&open_directory(&root)?))
        .and_then(|root| {
            let layers = find(&root, Some(place.join("kept")))?;
            attempt(&root, layers)
        });
    fs::remove_dir_all(&place)
        .with_context(|| format!("removing {place:?}"))?;
    tried
}

/// An overlay of an image that is itself in memory, in which there is
/// a directory that is not empty.
fn overlay_in_memory() -> anyhow::Result<PathBuf> {
    let root = stage()?;
    let directory = make_directory(&root.join("directory"))?;
    make_directory(&directory.join("inside"))?;
    mount_root(&root, &find(&root, None)?)
}

/// On a tmpfs without attributes there is a warning, and then an errno.
fn delete_in_memory() -> anyhow::Result<()> {
    let merged = unwarned(overlay_in_memory)?;
    let directory = merged.join("directory");
    fs::remove_dir_all(&directory)
        .with_context(|| format!("removing {directory:?}"))
}

fn deletions() -> anyhow::Result<()> {
    in_namespaces(MOUNT, delete_in_memory)
}

/// Runs `attempt` as root of a user namespace, as whom step 6 does the most.
fn inside(
    namespaces: CloneFlags,
    attempt: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    in_user_namespace(namespaces, OpenLayers::default(), |_| attempt())
        .map(drop)
}

fn users_proc() -> anyhow::Result<()> {
    inside(MOUNT | PID, mount_proc)
}

fn users_overlay() -> anyhow::Result<()> {
    inside(MOUNT, || overlay_in_memory().map(drop))
}

fn users_deletions() -> anyhow::Result<()> {
    inside(MOUNT, delete_in_memory)
}

fn network_namespace() -> anyhow::Result<()> {
    in_namespaces(NETWORK, network::loopback_up)
}

fn ipc_namespace() -> anyhow::Result<()> {
    in_namespaces(IPC, || Ok(()))
}

fn cgroup_namespace() -> anyhow::Result<()> {
    in_namespaces(NO_NAMESPACE, namespaces::hide_cgroup_path)
}

/// Shows files with other ids, as step 6 does with the image for root.
fn mapped_image() -> anyhow::Result<()> {
    let layers = find(&image_directory()?, None)?;
    in_user_namespace(NO_NAMESPACE, layers, |_| Ok(())).map(drop)
}

/// Has an overlay on them, in the user namespace that has these ids.
fn mapped_overlay() -> anyhow::Result<()> {
    let root = image_directory()?;
    let layers = find(&root, None)?;
    in_user_namespace(MOUNT, layers, |layers| mount_overlay(&root, layers))
        .map(drop)
}

/// The same with what is written in the current directory.
fn mapped_upper() -> anyhow::Result<()> {
    with_upper_here(|root, layers| {
        in_user_namespace(MOUNT, layers, |layers| mount_overlay(root, layers))
            .map(drop)
    })
}

/// Where there is only one, step 6 warns why, unless nothing was granted.
fn granted_ids() -> anyhow::Result<()> {
    let layers = OpenLayers::default();
    let ids = unwarned(|| in_user_namespace(NO_NAMESPACE, layers, |_| Ok(())))?;
    if let Ids::Own(None) = ids {
        bail!("/etc/subuid or /etc/subgid grants nothing to you");
    }
    Ok(())
}

fn nothing_inherited() -> anyhow::Result<()> {
    inside(NO_NAMESPACE, inheritance::clear)
}

fn sysfs() -> anyhow::Result<()> {
    inside(MOUNT | NETWORK, || kernel_files::mount_sys(&stage()?))
}

fn own_devices() -> anyhow::Result<()> {
    inside(MOUNT | IPC, || {
        devices::mount_dev(&stage()?, &devices::HARMLESS)
    })
}

/// All that is mounted over, or in, what the kernel shows.
fn covers() -> anyhow::Result<()> {
    let cgroup = Cgroup::create(&NONE)?;
    inside(MOUNT | PID | NETWORK | IPC, || {
        let root = stage()?;
        make_directory(&root.join("etc"))?;
        step03_mount::mount_proc(&root)?;
        kernel_files::mount_sys(&root)?;
        devices::mount_dev(&root, &devices::HARMLESS)?;
        kernel_files::protect(&root, &kernel_files::DOCKERS)?;
        cgroup_files::mount(&root, &cgroup)?;
        names::mount_files(&root, "box", false)
    })
}

fn program_in_memory() -> anyhow::Result<()> {
    stub::make().map(drop)
}

fn fewer_capabilities() -> anyhow::Result<()> {
    inside(NO_NAMESPACE, || privileges::reduce_to(&privileges::KEPT))
}

fn seccomp_filter() -> anyhow::Result<()> {
    inside(NO_NAMESPACE, || {
        privileges::reduce_to(&privileges::KEPT)?;
        seccomp::install(&seccomp::filter())
    })
}

/// Without Landlock step 6 does nothing, and says nothing.
fn second_wall() -> anyhow::Result<()> {
    let version = landlock::version()?;
    version.context("landlock_create_ruleset(): no version that would do")?;
    inside(MOUNT | IPC, || {
        let root = stage()?;
        devices::mount_dev(&root, &devices::HARMLESS)?;
        step03_mount::mount_root(&root)?;
        step03_mount::enter_root(&root)?;
        privileges::reduce_to(&privileges::KEPT)?;
        landlock::confine()
    })
}

/// The virtual machines that contributors test other kernels in.
fn qemu() -> anyhow::Result<()> {
    let program = format!("qemu-system-{}", env::consts::ARCH);
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|dir| dir.join(&program).exists());
    ensure!(found, "no {program} in PATH");
    Ok(())
}
