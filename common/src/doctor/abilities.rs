//! What the steps need, and for each the smallest attempt that shows whether
//! it is there.
//!
//! An attempt makes the calls of a step with nothing around them, so that an
//! error is the one that the step would meet. It runs in a child of its own
//! ([`super::in_a_child`]): what it changes (namespaces, mounts, identity) ends
//! with the child.

use std::{
    env,
    fs::{self, File},
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{prctl, stat::Mode},
    unistd::{
        Gid, Uid, chdir, fchdir, pivot_root, setgroups, sethostname, setresgid,
        setresuid,
    },
};

use super::{
    Ability, Answer,
    Need::{self, *},
    Tried::*,
    cgroups::limit,
    in_a_child,
};
use crate::{
    errors,
    host::{
        files::by_number,
        machine, rootless,
        subid::{self, Granted},
    },
    process::{self, Placeholder},
    rootfs,
    sys::{memfd, xattr},
};

/// In the order in which the steps come to need them.
pub(super) const ABILITIES: &[Ability] = &[
    ability("processes by clone3", clone3, BY_CLONE, BY_CLONE).by_caller(),
    ability("user namespace", user_namespace, From(6), From(1)).by_caller(),
    ability("root in a user namespace", || Ok(()), Never, From(1)),
    ability("UTS namespace", uts_namespace, From(1), From(1)),
    ability("PID namespace", pid_namespace, From(2), From(2)),
    ability("mount namespace", private_mounts, From(3), From(3)),
    ability("place for the image", image_place, From(3), From(3)).by_caller(),
    ability("proc file system", proc, From(3), From(3)),
    ability("pivot_root", new_root, From(3), From(3)),
    ability("limit on memory", || limit("memory"), NO_MEMORY, NO_MEMORY),
    ability("limit on CPU time", || limit("cpu"), NO_CPU, NO_CPU),
    ability("limit on processes", || limit("pids"), NO_PIDS, NO_PIDS),
    ability("overlay file system", overlay, From(5), From(5)),
    ability("overlay with --upper here", upper_here, NOT_HERE, NOT_HERE)
        .by_caller(),
    ability("deletions kept in memory", user_marks, NO_RM_6, NO_RM_5).inside(),
    ability("proc in a user namespace", proc, From(6), Never).inside(),
    ability("overlay in a user namespace", overlay, From(6), Never).inside(),
    ability("network namespace", network_namespace, From(6), From(6)),
    ability("IPC namespace", ipc_namespace, From(6), From(6)),
    ability("cgroup namespace", cgroup_namespace, From(6), From(6)),
    ability("ids of an image", id_mapped_image, From(6), Never),
    ability("overlay on mapped ids", id_mapped_overlay, From(6), Never),
    ability(
        "--upper here, ids mapped",
        id_mapped_upper,
        NOT_HERE_6,
        Never,
    ),
    ability("more than one id", granted_ids, Never, ONE_ID).by_caller(),
    ability("closing of open files", close_range, From(6), From(6)),
    ability("session keyring", session_keyring, From(6), From(6)),
    ability("sysfs", sysfs, From(6), From(6)).inside(),
    ability("terminals (devpts)", devpts, From(6), From(6)).inside(),
    ability("message queues (mqueue)", mqueue, From(6), From(6)).inside(),
    ability("programs in memory", program_in_memory, From(6), From(6)),
    ability("seccomp filter", seccomp_filter, From(6), From(6)),
    ability("second wall (Landlock)", landlock, ONE_WALL, ONE_WALL),
    ability("QEMU (for contributors)", qemu, Nice, Nice).by_caller(),
];

const BY_CLONE: Need = Limit(1, "its process is made by clone");
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
    let tried = AsRoot;
    Ability {
        name,
        attempt,
        tried,
        root,
        user,
    }
}

impl Ability {
    const fn inside(self) -> Ability {
        let tried = InUserNamespace;
        Ability { tried, ..self }
    }

    const fn by_caller(self) -> Ability {
        let tried = AsCaller;
        Ability { tried, ..self }
    }
}

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

fn new(flag: CloneFlags, name: &str) -> anyhow::Result<()> {
    unshare(flag).with_context(|| format!("unshare({name})"))
}

fn user_namespace() -> anyhow::Result<()> {
    new(CloneFlags::CLONE_NEWUSER, "CLONE_NEWUSER")
}

fn uts_namespace() -> anyhow::Result<()> {
    new(CloneFlags::CLONE_NEWUTS, "CLONE_NEWUTS")?;
    sethostname("box").context(r#"sethostname("box")"#)
}

fn network_namespace() -> anyhow::Result<()> {
    new(CloneFlags::CLONE_NEWNET, "CLONE_NEWNET")
}

fn ipc_namespace() -> anyhow::Result<()> {
    new(CloneFlags::CLONE_NEWIPC, "CLONE_NEWIPC")
}

fn cgroup_namespace() -> anyhow::Result<()> {
    new(CloneFlags::CLONE_NEWCGROUP, "CLONE_NEWCGROUP")
}

fn pid_namespace() -> anyhow::Result<()> {
    as_process_1(|| Ok(()))
}

/// Runs `attempt` as the first process of a PID namespace.
fn as_process_1(
    attempt: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    new(CloneFlags::CLONE_NEWPID, "CLONE_NEWPID")?;
    // What has failed there is told by the errno: an exit code has room for it.
    let child = process::fork(|| match attempt() {
        Ok(()) => process::exit(0),
        Err(error) => {
            let errno = errors::errno(&error);
            process::exit(errno.map_or(u8::MAX, |errno| errno as u8))
        }
    })?;
    match process::wait(child)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno.into()).into()),
    }
}

/// From here on, mounts are ours alone.
fn private_mounts() -> anyhow::Result<()> {
    new(CloneFlags::CLONE_NEWNS, "CLONE_NEWNS")?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context(r#"mount(NULL, "/", MS_REC|MS_PRIVATE)"#)
}

/// Mounts a file system that has no device behind it, where nobody sees it.
fn mount_on(
    target: &Path,
    file_system: &str,
    options: &str,
) -> anyhow::Result<()> {
    let flags = MsFlags::empty();
    let name = Some(file_system);
    mount(name, target, name, flags, Some(options)).with_context(|| {
        format!("mount({file_system:?}, {target:?}, {file_system:?})")
    })
}

fn program_in_memory() -> anyhow::Result<()> {
    memfd::executable(c"doctor").map(drop)
}

/// A directory that exists everywhere.
fn anywhere() -> PathBuf {
    env::temp_dir()
}

fn proc() -> anyhow::Result<()> {
    private_mounts()?;
    as_process_1(|| mount_on(Path::new("/proc"), "proc", ""))
        .context(r#"mount("proc", "/proc", "proc")"#)
}

fn sysfs() -> anyhow::Result<()> {
    private_mounts()?;
    network_namespace()?;
    mount_on(Path::new("/sys"), "sysfs", "")
}

fn devpts() -> anyhow::Result<()> {
    private_mounts()?;
    mount_on(&anywhere(), "devpts", "newinstance")
}

fn mqueue() -> anyhow::Result<()> {
    private_mounts()?;
    ipc_namespace()?;
    mount_on(&anywhere(), "mqueue", "")
}

fn new_root() -> anyhow::Result<()> {
    private_mounts()?;
    let root = anywhere();
    mount_on(&root, "tmpfs", "")?;
    chdir(&root).with_context(|| format!("chdir({root:?})"))?;
    pivot_root(".", ".").context(r#"pivot_root(".", ".")"#)?;
    umount2(".", MntFlags::MNT_DETACH).context(r#"umount2(".", MNT_DETACH)"#)
}

/// The directory that the default root file system is in, or will be.
fn image_directory() -> anyhow::Result<PathBuf> {
    let image = rootfs::default_dir()?;
    let mut existing = image.ancestors().filter(|dir| dir.exists());
    Ok(existing.next().unwrap_or(Path::new("/")).to_owned())
}

fn image_place() -> anyhow::Result<()> {
    rootfs::try_default().context(errors::PREPARING)?;
    let directory = image_directory()?;
    ensure!(
        !machine::is_noexec(&directory),
        "{directory:?} is mounted noexec"
    );
    Ok(())
}

/// An overlay as step 5 mounts it: what is written goes to a tmpfs.
fn overlay() -> anyhow::Result<()> {
    private_mounts()?;
    let place = anywhere();
    mount_on(&place, "tmpfs", "")?;
    let lowerdir = new_directory(&place, "lower")?;
    let upperdir = new_directory(&place, "upper")?;
    mount_overlay(&lowerdir, &upperdir, &new_directory(&place, "work")?)
}

/// Whether a tmpfs has the attributes in which overlay keeps its notes.
fn user_marks() -> anyhow::Result<()> {
    private_mounts()?;
    let place = anywhere();
    mount_on(&place, "tmpfs", "")?;
    let directory = File::open(&place)
        .with_context(|| format!("open({place:?}, O_RDONLY)"))?;
    let call = r#"fgetxattr(tmpfs, "user.overlay.opaque")"#;
    match xattr::is_supported(directory, c"user.overlay.opaque") {
        Ok(false) => Err(Errno::EOPNOTSUPP).context(call),
        result => result.map(drop).context(call),
    }
}

/// The same with what is written in the current directory. Whatever happens,
/// it is removed again.
fn upper_here() -> anyhow::Result<()> {
    let here = env::current_dir().context("getcwd()")?;
    let name = format!(".doctor.{}", std::process::id());
    // As the user, whom permissions hold back from more than root.
    fchdir(new_directory(&here, &name)?).context("fchdir()")?;
    let ours = Path::new(".");
    let attempt = || {
        rootless::become_root()?;
        // From here on we are in the copy of the mount that is ours.
        private_mounts()?;
        let upperdir = new_directory(ours, "upper")?;
        let workdir = new_directory(ours, "work")?;
        mount_on(&anywhere(), "tmpfs", "")?;
        let lowerdir = new_directory(&anywhere(), "lower")?;
        let mounted = mount_overlay(&lowerdir, &upperdir, &workdir);
        // What is mounted may be in use, or hide what is to be removed.
        let _ = umount2(&anywhere(), MntFlags::MNT_DETACH);
        let _ = umount2(&anywhere(), MntFlags::MNT_DETACH);
        mounted
    };
    let mounted = attempt().map_err(|error| blame(&here, error));
    // The kernel has made a directory in its work directory.
    let inside = ["work/work", "work", "upper"].map(|name| ours.join(name));
    for path in inside.iter().chain([&here.join(name)]) {
        match fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("rmdir({path:?})"));
            }
            _ => {}
        }
    }
    mounted
}

/// Adds to the error the file system that `upper` is on, if that is why.
fn blame(upper: &Path, error: anyhow::Error) -> anyhow::Error {
    match machine::unfit_for_upper(upper) {
        Some(name) => error.context(format!("upperdir is on {name}")),
        None => error,
    }
}

/// Mounts an overlay where nobody sees it.
fn mount_overlay(
    lowerdir: &OwnedFd,
    upperdir: &OwnedFd,
    workdir: &OwnedFd,
) -> anyhow::Result<()> {
    // By descriptors, as paths may hold characters that mean something here.
    let path = |fd: &OwnedFd| by_number(fd).display().to_string();
    let xattr = match machine::in_initial_user_namespace() {
        true => "",
        false => ",userxattr",
    };
    let options = format!(
        "lowerdir={},upperdir={},workdir={},index=off{xattr}",
        path(lowerdir),
        path(upperdir),
        path(workdir)
    );
    mount_on(&anywhere(), "overlay", &options)
}

/// Makes a directory and opens it, which has no other name from then on: if
/// `parent` belongs to somebody else, they can put a link in its place.
fn new_directory(parent: &Path, name: &str) -> anyhow::Result<OwnedFd> {
    let path = parent.join(name);
    fs::create_dir(&path).with_context(|| format!("mkdir({path:?})"))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(&path, flags | OFlag::O_NOFOLLOW, Mode::empty())
        .with_context(|| format!("open({path:?}, O_PATH|O_NOFOLLOW)"))
}

/// Shows files with other ids, as step 6 does with the image for root.
fn id_mapped_image() -> anyhow::Result<()> {
    id_mapped(&image_directory()?).map(drop)
}

/// Has an overlay on them, in the user namespace that has these ids.
fn id_mapped_overlay() -> anyhow::Result<()> {
    let (image, userns) = id_mapped(&image_directory()?)?;
    enter(&userns)?;
    private_mounts()?;
    let place = anywhere();
    mount_on(&place, "tmpfs", "")?;
    let lowerdir = attach(image, &place, "lower")?;
    let upperdir = new_directory(&place, "upper")?;
    mount_overlay(&lowerdir, &upperdir, &new_directory(&place, "work")?)
}

/// The same with what is written in the current directory: in a process of its
/// own, as whoever has entered a user namespace can't remove it again.
fn id_mapped_upper() -> anyhow::Result<()> {
    let here = env::current_dir().context("getcwd()")?;
    let name = format!(".doctor.{}", std::process::id());
    let directory = new_directory(&here, &name)?;
    let ours = by_number(&directory);
    let answer = in_a_child(|| {
        let mount = || {
            let (layer, userns) = id_mapped(&ours)?;
            enter(&userns)?;
            private_mounts()?;
            let place = anywhere();
            mount_on(&place, "tmpfs", "")?;
            let lowerdir = new_directory(&place, "lower")?;
            attach(layer, &place, "kept")?;
            let kept = place.join("kept");
            let upperdir = new_directory(&kept, "upper")?;
            mount_overlay(&lowerdir, &upperdir, &new_directory(&kept, "work")?)
        };
        mount().map_err(|error| blame(&ours, error))
    });
    let path = here.join(name);
    fs::remove_dir_all(&path).with_context(|| format!("removing {path:?}"))?;
    match answer? {
        Answer::Fails(failure) => Err(failure.into()),
        _ => Ok(()),
    }
}

/// Becomes root of the user namespace `userns`.
fn enter(userns: &File) -> anyhow::Result<()> {
    setns(userns, CloneFlags::CLONE_NEWUSER)
        .context("setns(userns, CLONE_NEWUSER)")?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).context("setgroups([])")?;
    setresgid(gid, gid, gid).context("setresgid(0, 0, 0)")?;
    setresuid(uid, uid, uid).context("setresuid(0, 0, 0)")
}

/// Attaches the mount `detached` at `parent/name`.
fn attach(
    detached: OwnedFd,
    parent: &Path,
    name: &str,
) -> anyhow::Result<OwnedFd> {
    new_directory(parent, name)?;
    let source = by_number(&detached);
    let (target, flags) = (parent.join(name), MsFlags::MS_MOVE);
    mount(Some(&source), &target, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("mount({source:?}, {target:?}, MS_MOVE)"))?;
    Ok(detached)
}

/// A copy of the mount at `directory`, with the ids of a container of root, and
/// a user namespace that has them.
fn id_mapped(directory: &Path) -> anyhow::Result<(OwnedFd, File)> {
    let (users, groups) = subid::of_root(|_| ())?;
    let process = Placeholder::new(CloneFlags::CLONE_NEWUSER)?;
    let file = |name: &str| format!("/proc/{}/{name}", process.pid());
    for (name, range) in [("uid_map", users), ("gid_map", groups)] {
        let text = format!("0 {} {}", range.first, range.count);
        let path = file(name);
        fs::write(&path, &text)
            .with_context(|| format!("write({path:?}, {text:?})"))?;
    }
    let userns = File::open(file("ns/user")).context("open(ns/user)")?;

    let path =
        std::ffi::CString::new(directory.as_os_str().as_encoded_bytes())?;
    // SAFETY: the path is NUL-terminated, and the kernel only reads it.
    let mount = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC,
        )
    };
    let mount = Errno::result(mount).with_context(|| {
        format!("open_tree({directory:?}, OPEN_TREE_CLONE)")
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    let mount = unsafe { OwnedFd::from_raw_fd(mount as i32) };

    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: userns.as_raw_fd() as u64,
    };
    // SAFETY: the path is a NUL-terminated constant; the kernel reads as many
    // bytes of the attributes as the last argument says.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(done).with_context(|| {
        format!("mount_setattr({directory:?}, MOUNT_ATTR_IDMAP)")
    })?;
    Ok((mount, userns))
}

/// Has the ids written that are granted, as step 6 does.
fn granted_ids() -> anyhow::Result<()> {
    let granted = Granted::to_us()?
        .context("/etc/subuid or /etc/subgid grants nothing to you")?;
    let process = Placeholder::new(CloneFlags::CLONE_NEWUSER)?;
    granted.map_groups(process.pid())?;
    granted.map_users(process.pid())
}

/// Of no descriptor: the last one that there could be.
fn close_range() -> anyhow::Result<()> {
    let last = libc::c_uint::MAX;
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: the call takes three integers, and no such descriptor is open.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, last, last, flags) };
    Errno::result(done)
        .map(drop)
        .context("close_range(~0, ~0, CLOSE_RANGE_CLOEXEC)")
}

fn session_keyring() -> anyhow::Result<()> {
    // SAFETY: a null pointer asks for a keyring without a name.
    let keyring = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    match Errno::result(keyring) {
        // A kernel built without keys has none to pass on.
        Err(Errno::ENOSYS) => Ok(()),
        result => result
            .map(drop)
            .context("keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)"),
    }
}

/// Installs a filter of one instruction: allow.
fn seccomp_filter() -> anyhow::Result<()> {
    prctl::set_no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS, 1)")?;
    let mut allow = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut allow,
    };
    // SAFETY: the program points to one instruction, which lives through the
    // call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    Errno::result(done)
        .map(drop)
        .context("seccomp(SECCOMP_SET_MODE_FILTER, 0, …)")
}

/// Asks for the version of the interface, which makes nothing. Step 6 uses what
/// the second one has.
fn landlock() -> anyhow::Result<()> {
    const VERSION: libc::c_long = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: with this flag the kernel reads no attributes.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            nothing,
            0 as libc::c_long,
            VERSION,
        )
    };
    let call = "landlock_create_ruleset(NULL, 0, VERSION)";
    let version = Errno::result(version).context(call)?;
    ensure!(version >= 2, "{call}: it is version {version}, not 2");
    Ok(())
}

/// The virtual machines that contributors test other kernels in.
fn qemu() -> anyhow::Result<()> {
    let program = format!("qemu-system-{}", env::consts::ARCH);
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|dir| dir.join(&program).exists());
    ensure!(found, "no {program} in PATH");
    Ok(())
}
