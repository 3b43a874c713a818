//! What the steps need, and for each the attempt that shows whether it is there.
//!
//! An attempt calls the function of a step that needs it, in a container with
//! as little else as will do, so that an error is the one that the step would
//! meet. What it changes (namespaces, mounts, identity) ends with it.

use std::{
    env, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use common::{
    NewProcess,
    host::{files::path_of, paths::open_directory},
    process, rootfs, rootless, sys,
};
use nix::{
    errno::Errno,
    fcntl::{OFlag, ResolveFlag},
    sched::CloneFlags,
    sys::statvfs::FsFlags,
};
use step04_cgroups::{Cgroup, Limits};
use step05_overlay::{Layers, OpenLayers, mount_root};

use super::{
    Ability,
    Need::{self, *},
    attempt::{put_pipes, unwarned},
    cgroups::{NONE, limit},
    container::{
        ANYWHERE, IN_STEP_6, in_namespaces, in_user_namespace, make_directory,
        run, stage,
    },
    output::STEPS,
    whole,
};
use crate::{
    cgroup_files, devices, inheritance, kernel_files, landlock, names,
    namespaces, network, privileges, seccomp, stub, user::Ids,
};

/// In the order in which the steps come to need them. What step 6 needs is tried
/// in a new user namespace, as it has one, and what the others need, without.
pub(super) const ABILITIES: &[Ability] = &[
    ability("processes by clone3", clone3, BY_CLONE, BY_CLONE),
    ability(
        "descriptors in /proc",
        descriptors,
        ALL_OF_PROC,
        ALL_OF_PROC,
    ),
    ability("root in a user namespace", become_root, Never, Within(1, 5)),
    ability("UTS namespace", uts_namespace, Within(1, 5), Within(1, 5)),
    ability("PID namespace", pid_namespace, Within(2, 5), Within(2, 5)),
    ability(
        "mount namespace",
        mount_namespace,
        Within(3, 5),
        Within(3, 5),
    ),
    ability("image of step 3", || image(3), Within(3, 3), Within(3, 3)),
    ability("image of step 4", || image(4), Within(4, 4), Within(4, 4)),
    ability("image of step 5", || image(5), Within(5, 5), Within(5, 5)),
    ability("image of step 6", || image(6), From(6), From(6)),
    ability("proc file system", proc, Within(3, 5), Within(3, 5)),
    ability("pivot_root", new_root, Within(3, 5), Within(3, 5)),
    ability("cgroups in sight", cgroups, From(4), From(4)).here(),
    ability("limit on memory", memory, NO_MEMORY, NO_MEMORY).here(),
    ability("limit on CPU time", cpu, NO_CPU, NO_CPU).here(),
    ability("limit on processes", pids, NO_PIDS, NO_PIDS).here(),
    ability("overlay file system", overlay, Within(5, 5), Within(5, 5)),
    ability(
        "overlay with --upper here",
        upper_here,
        NOT_HERE_5,
        NOT_HERE_5,
    ),
    ability("deletions kept in memory", deletions, NO_RM_5, NO_RM_5),
    ability("all of step 3", whole::step_3, Within(3, 3), Within(3, 3)),
    ability("all of step 4", whole::step_4, Within(4, 4), Within(4, 4)).here(),
    ability("all of step 5", whole::step_5, Within(5, 5), Within(5, 5)).here(),
    ability("user namespace", user_namespace, From(6), From(6)),
    ability("UTS namespace in it", users_name, From(6), From(6)),
    ability("network namespace", network_namespace, From(6), From(6)),
    ability("IPC namespace", ipc_namespace, From(6), From(6)),
    ability("cgroup namespace", cgroup_namespace, From(6), From(6)),
    ability("proc in it", users_proc, From(6), From(6)),
    ability("overlay in it", users_overlay, From(6), From(6)),
    ability("deletions in it", users_deletions, NO_RM_6, NO_RM_6),
    ability("pivot_root in it", users_root, From(6), From(6)),
    ability("ids of an image", mapped_image, From(6), Never),
    ability("overlay on the image", mapped_overlay, From(6), From(6)),
    ability("--upper here, in it", mapped_upper, NOT_HERE_6, NOT_HERE_6),
    ability("pipes of its own", own_pipes, NO_PIPES, Never),
    ability("more than one id", granted_ids, Never, ONE_ID).here(),
    ability("nothing is inherited", nothing_inherited, From(6), From(6)),
    ability("sysfs", sysfs, From(6), From(6)),
    ability("devices of its own", own_devices, From(6), From(6)),
    ability("covers of kernel files", covers, From(6), From(6)),
    ability("programs in memory", program_in_memory, From(6), From(6)),
    ability("fewer capabilities", fewer_capabilities, From(6), From(6)),
    ability("seccomp filter", seccomp_filter, From(6), From(6)),
    ability("all of step 6", whole::step_6, From(6), From(6)).here(),
    ability("second wall (Landlock)", second_wall, ONE_WALL, ONE_WALL),
    ability("QEMU (for contributors)", qemu, Nice, Nice),
];

const BY_CLONE: Need = Limit(1, 6, "its process is made by clone");
/// Later steps have mounted one of their own by then.
const ALL_OF_PROC: Need = Within(1, 2);
const NO_MEMORY: Need = Limit(4, 6, "memory is not limited");
const NO_CPU: Need = Limit(4, 6, "CPU time is not limited");
const NO_PIDS: Need = Limit(4, 6, "the number of processes is not limited");
const NOT_HERE_5: Need = Limit(5, 5, NOT_HERE);
const NOT_HERE_6: Need = Limit(6, 6, NOT_HERE);
const NOT_HERE: &str = "--upper needs another directory";
const NO_RM_5: Need = Limit(5, 5, NO_RM);
const NO_RM_6: Need = Limit(6, 6, NO_RM);
const NO_RM: &str = "`rm -r` of a directory of the image needs --upper DIR";
const NO_PIPES: Need = Limit(6, 6, "`/dev/stdout` can't be opened on a pipe");
const ONE_WALL: Need = Limit(6, 6, "the first wall stands alone");
const ONE_ID: Need = Limit(6, 6, "root is the only user inside");

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

/// By which the command finds what it must not have open.
fn descriptors() -> anyhow::Result<()> {
    in_namespaces(NO_NAMESPACE, || process::close_own_descriptors(&[]))
}

/// Steps 1 to 5 become root in one, step 6 creates its process with it.
fn user_namespace() -> anyhow::Result<()> {
    Ids::choose(&IN_STEP_6, &mut OpenLayers::default())?;
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

/// Whether the step of that number has a root file system, and can execute its
/// programs.
fn image(step: usize) -> anyhow::Result<()> {
    let there = rootfs::try_default_of(&program(step))?;
    there.map_or(Ok(()), |image| has_shell(&image))?;
    match IN_PLACE.contains(&step) {
        true => executable(&image_directory(step)?),
        false => Ok(()),
    }
}

/// The steps that execute programs where the image is. Later ones show it by an
/// overlay, which is executable.
const IN_PLACE: RangeInclusive<usize> = 3..=4;

/// The name of a step's program. Ours may have another one, as that of its file.
fn program(step: usize) -> PathBuf {
    match step {
        6 => rootfs::program_file(),
        _ => STEPS[step - 1].into(),
    }
}

/// Somebody may have removed the tools: what is written into the image of steps
/// 3 and 4 stays.
fn has_shell(image: &Path) -> anyhow::Result<()> {
    let root = open_directory(image)?;
    let in_root = ResolveFlag::RESOLVE_IN_ROOT;
    match sys::openat2(root, "bin/sh", OFlag::O_PATH, in_root) {
        Err(error) if error.errno == Errno::ENOENT => {
            let advice = rootfs::how_to_get_tools_back(image);
            Err(anyhow::Error::from(error).context(advice))
        }
        // Steps 3 and 4 do without this call.
        _ => Ok(()),
    }
}

/// Looks at the file system of the image itself. To try it would take an image,
/// and none may be left.
fn executable(image: &Path) -> anyhow::Result<()> {
    let status = sys::statfs(image)?;
    ensure!(
        !status.flags().contains(FsFlags::ST_NOEXEC),
        "{image:?} is mounted noexec"
    );
    Ok(())
}

/// The directory that the default root file system of a step is in, or will be.
pub(super) fn image_directory(step: usize) -> anyhow::Result<PathBuf> {
    let image = rootfs::default_dir_of(&program(step))?;
    let mut existing = image.ancestors().filter(|dir| dir.is_dir());
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

/// All limits may be missing, but not what tells that.
fn cgroups() -> anyhow::Result<()> {
    Cgroup::create(&NONE).map(drop)
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
pub(super) fn find(
    root: &Path,
    upper: Option<PathBuf>,
) -> anyhow::Result<OpenLayers> {
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
    let root = image_directory(5)?;
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
    let place = PathBuf::from(format!(".doctor.{}", std::process::id()));
    let root = place.join("image");
    make_directory(&place)?;
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

fn users_name() -> anyhow::Result<()> {
    inside(UTS, || step01_uts::set_hostname("box"))
}

fn users_root() -> anyhow::Result<()> {
    inside(MOUNT, || {
        let root = stage()?;
        step03_mount::mount_root(&root)?;
        step03_mount::enter_root(&root)
    })
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
    inside(NETWORK, network::loopback_up)
}

fn ipc_namespace() -> anyhow::Result<()> {
    inside(IPC, || Ok(()))
}

fn cgroup_namespace() -> anyhow::Result<()> {
    inside(NO_NAMESPACE, namespaces::hide_cgroup_path)
}

/// Shows files with other ids, as step 6 does with the image for root.
fn mapped_image() -> anyhow::Result<()> {
    let layers = find(&image_directory(6)?, None)?;
    in_user_namespace(NO_NAMESPACE, layers, |_| Ok(())).map(drop)
}

/// Has an overlay on them, in the user namespace that has these ids.
fn mapped_overlay() -> anyhow::Result<()> {
    let root = image_directory(6)?;
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

/// Where the container's root can't have them, step 6 warns.
fn own_pipes() -> anyhow::Result<()> {
    put_pipes()?;
    unwarned(|| inside(NO_NAMESPACE, || Ok(())))
}

/// Where there is only one, step 6 warns why, unless nothing was granted. With
/// too few descriptors, for example, nobody can write the tables.
fn granted_ids() -> anyhow::Result<()> {
    whole::as_open_as_step_6(|layers| {
        let in_it = || in_user_namespace(NO_NAMESPACE, layers, |_| Ok(()));
        if let Ids::Own(None) = unwarned(in_it)? {
            bail!("/etc/subuid or /etc/subgid grants nothing to you");
        }
        Ok(())
    })
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
