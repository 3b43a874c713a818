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
    process::Command,
};

use anyhow::{Context, bail, ensure};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::prctl,
    unistd::{AccessFlags, access, chdir, getuid, pivot_root, sethostname},
};

use super::{
    Ability,
    Need::{self, *},
    Tried::*,
    cgroups::limit,
};
use crate::{
    machine,
    passwd::User,
    process::{self, Placeholder},
    rootfs::{self, open_directory},
};

/// In the order in which the steps come to need them.
pub(super) const ABILITIES: &[Ability] = &[
    ability("processes by clone3", clone3, BY_CLONE, BY_CLONE).by_caller(),
    ability("user namespace", user_namespace, From(6), From(1)).by_caller(),
    ability("root in a user namespace", || Ok(()), Never, From(1)),
    ability("UTS namespace", uts_namespace, From(1), From(1)),
    ability("PID namespace", pid_namespace, From(2), From(2)),
    ability("mount namespace", private_mounts, From(3), From(3)),
    ability("place for the image", image_place, OTHER_IMAGE, OTHER_IMAGE)
        .by_caller(),
    ability("proc file system", proc, From(3), From(3)),
    ability("pivot_root", new_root, From(3), From(3)),
    ability("limit on memory", || limit("memory"), NO_MEMORY, NO_MEMORY),
    ability("limit on CPU time", || limit("cpu"), NO_CPU, NO_CPU),
    ability("limit on processes", || limit("pids"), NO_PIDS, NO_PIDS),
    ability("overlay file system", overlay, From(5), From(5)),
    ability("overlay with --upper here", upper_here, NOT_HERE, NOT_HERE),
    ability("proc in a user namespace", proc, From(6), Never).inside(),
    ability("overlay in a user namespace", overlay, From(6), Never).inside(),
    ability("network namespace", network_namespace, From(6), From(6)),
    ability("IPC namespace", ipc_namespace, From(6), From(6)),
    ability("cgroup namespace", cgroup_namespace, From(6), From(6)),
    ability("ids of an image", id_mapped_mount, From(6), Never),
    ability("more than one id", newuidmap, Never, ONE_ID).by_caller(),
    ability("closing of open files", close_range, From(6), From(6)),
    ability("session keyring", session_keyring, From(6), From(6)),
    ability("sysfs", sysfs, From(6), From(6)).inside(),
    ability("terminals (devpts)", devpts, From(6), From(6)).inside(),
    ability("message queues (mqueue)", mqueue, From(6), From(6)).inside(),
    ability("seccomp filter", seccomp_filter, From(6), From(6)),
    ability("QEMU (for contributors)", qemu, Nice, Nice).by_caller(),
];

const BY_CLONE: Need = Limit(1, "its process is made by clone");
const OTHER_IMAGE: Need = Limit(3, "only with --rootfs");
const NO_MEMORY: Need = Limit(4, "memory is not limited");
const NO_CPU: Need = Limit(4, "CPU time is not limited");
const NO_PIDS: Need = Limit(4, "the number of processes is not limited");
const NOT_HERE: Need = Limit(5, "--upper needs another directory");
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
            let errno = crate::report::errno(&error);
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
    let directory = image_directory()?;
    access(&directory, AccessFlags::W_OK)
        .with_context(|| format!("access({directory:?}, W_OK)"))
        .context(rootfs::PREPARING)?;
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
    let upperdir = new_directory(&place, "upper")?;
    mount_overlay(&upperdir, &new_directory(&place, "work")?)
}

/// The same with what is written in the current directory. Whatever happens,
/// it is removed again.
fn upper_here() -> anyhow::Result<()> {
    private_mounts()?;
    let here = env::current_dir().context("getcwd()")?;
    let name = format!(".doctor.{}", std::process::id());
    new_directory(&here, &name)?;
    let ours = here.join(name);
    let attempt = || {
        let upperdir = new_directory(&ours, "upper")?;
        let workdir = new_directory(&ours, "work")?;
        mount_on(&anywhere(), "tmpfs", "")?;
        let mounted = mount_overlay(&upperdir, &workdir);
        // What is mounted may be in use, or hide what is to be removed.
        let _ = umount2(&anywhere(), MntFlags::MNT_DETACH);
        let _ = umount2(&anywhere(), MntFlags::MNT_DETACH);
        mounted
    };
    let mounted =
        attempt().map_err(|error| match machine::unfit_for_upper(&here) {
            Some(name) => error.context(format!("upperdir is on {name}")),
            None => error,
        });
    // The kernel has made a directory in its work directory.
    for directory in ["work/work", "work", "upper", ""] {
        match fs::remove_dir(ours.join(directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("rmdir({ours:?})"));
            }
            _ => {}
        }
    }
    mounted
}

/// Mounts an overlay on a tmpfs, with a directory in that as its lower layer.
fn mount_overlay(upperdir: &OwnedFd, workdir: &OwnedFd) -> anyhow::Result<()> {
    let merged = anywhere();
    let lowerdir = new_directory(&merged, "lower")?;
    // By descriptors, as paths may hold characters that mean something here.
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let xattr = match machine::in_initial_user_namespace() {
        true => "",
        false => ",userxattr",
    };
    let options = format!(
        "lowerdir={},upperdir={},workdir={},index=off{xattr}",
        path(&lowerdir),
        path(upperdir),
        path(workdir)
    );
    mount_on(&merged, "overlay", &options)
}

fn new_directory(parent: &Path, name: &str) -> anyhow::Result<OwnedFd> {
    let path = parent.join(name);
    fs::create_dir(&path).with_context(|| format!("mkdir({path:?})"))?;
    open_directory(&path)
}

/// Shows files with other ids, as step 6 does with the image for root: first
/// the ids, then the mount.
fn id_mapped_mount() -> anyhow::Result<()> {
    let process = Placeholder::new(CloneFlags::CLONE_NEWUSER)?;
    let file = |name: &str| format!("/proc/{}/{name}", process.pid());
    for name in ["uid_map", "gid_map"] {
        let (path, text) = (file(name), "0 100000 65536");
        fs::write(&path, text)
            .with_context(|| format!("write({path:?}, {text:?})"))?;
    }
    let userns = File::open(file("ns/user")).context("open(ns/user)")?;

    let directory = image_directory()?;
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
    Errno::result(done).map(drop).with_context(|| {
        format!("mount_setattr({directory:?}, MOUNT_ATTR_IDMAP)")
    })
}

/// Has `newuidmap` map the one id that everybody may map; and looks whether
/// more are granted.
fn newuidmap() -> anyhow::Result<()> {
    ensure!(
        !prctl::get_no_new_privs().context("prctl(PR_GET_NO_NEW_PRIVS)")?,
        "newuidmap can't become root: no_new_privs is set for this process"
    );
    let uid = getuid().to_string();
    let process = Placeholder::new(CloneFlags::CLONE_NEWUSER)?;
    let output = Command::new("newuidmap")
        .args([&process.pid().to_string(), "0", &uid, "1"])
        .output()
        .context(r#"execve("newuidmap")"#)?;
    let says = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "newuidmap: {}", says.trim());

    let name = User::find(getuid().as_raw()).map(|user| user.name);
    for path in ["/etc/subuid", "/etc/subgid"] {
        let granted = fs::read_to_string(path)
            .with_context(|| format!("open({path:?}, O_RDONLY)"))?;
        let is_ours = |line: &str| {
            let user = line.split(':').next();
            user == Some(&uid) || user == name.as_deref()
        };
        if !granted.lines().any(is_ours) {
            bail!("newuidmap: {path} grants nothing to you");
        }
    }
    Ok(())
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

/// The virtual machines that contributors test other kernels in.
fn qemu() -> anyhow::Result<()> {
    let program = format!("qemu-system-{}", env::consts::ARCH);
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|dir| dir.join(&program).exists());
    ensure!(found, "no {program} in PATH");
    Ok(())
}
