//! What a student's program finds below `/`: a root of its own, in which there
//! is what this list names, and nothing else of the machine.
//!
//! To make the whole machine read-only is not enough. One may still connect to
//! a socket, write to a FIFO or to a terminal, and end a cgroup; and root of a
//! plain user's sandbox *is* that user, for whom all that is open.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown, symlink},
    path::{Path, PathBuf},
};

use anyhow::Context;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, pivot_root},
};

use crate::read_only::make_read_only;

/// Programs and their libraries. A link among them stays one. Not all of `/usr`:
/// in other parts of it servers have sockets, and users files.
const PROGRAMS: [&str; 20] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
];

/// Names of users, and where libraries are.
const FILES: [&str; 6] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/subuid",
    "/etc/subgid",
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
];

/// Devices that are the same for everybody.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];

/// Empty directories that a machine has.
const EMPTY: [&str; 6] = ["home", "mnt", "opt", "root", "run", "srv"];

/// What can be written to, and its mode: empty file systems in memory.
const IN_MEMORY: [(&str, &str); 4] = [
    ("tmp", "1777"),
    ("dev/shm", "1777"),
    ("var/tmp", "1777"),
    ("var/cache", "755"),
];

/// What was brought in: where it is now.
pub(crate) struct Files {
    /// The program that is checked.
    pub(crate) program: PathBuf,
    /// A copy of our own program.
    pub(crate) agent: PathBuf,
    /// Our own program, which nobody in there can write to.
    pub(crate) own: File,
}

/// Where cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The root that is being made is mounted there until it is entered.
const NEW_ROOT: &str = "/tmp";

const SECURE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// Makes this root and enters it. What is mounted here can't be taken away in a
/// user namespace that is made afterwards: see mount_namespaces(7), on mounts
/// that are locked.
///
/// This process must be number 1 of a PID namespace, in a mount namespace with
/// no shared mount and a network namespace, all of its own: `/proc` and `/sys`
/// show those. `program` is copied, and so is the program that we are; the user
/// `owner` may write where they are, and to `cgroups`, which are directories.
///
/// # Errors
/// That of the call that failed.
pub(crate) fn enter(
    program: (&Path, File),
    owner: u32,
    cgroups: &[&Path],
) -> anyhow::Result<Files> {
    let (name, source) = program;
    let root = Path::new(NEW_ROOT);
    mount_new("tmpfs", root, SECURE, "mode=755")?;
    for path in PROGRAMS {
        show(Path::new(path))?;
    }
    fs::create_dir_all(root.join("etc"))?;
    for path in FILES {
        match fs::copy(path, below(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => drop(done.with_context(|| format!("copying {path:?}"))?),
        }
    }
    for name in EMPTY {
        fs::create_dir_all(root.join(name))?;
    }
    mount_kernels(cgroups)?;
    mount_devices(owner)?;
    for (name, mode) in IN_MEMORY {
        let options = format!("mode={mode},uid={owner},gid={owner}");
        mount_new("tmpfs", &root.join(name), SECURE, &options)?;
    }
    let name = name.file_name().context("the program has no name")?;
    let program = copy(&source, &Path::new("/tmp").join(name), owner)?;
    let own =
        File::open("/proc/self/exe").context("opening our own program")?;
    let agent = copy(&own, Path::new("/tmp/agent"), owner)?;
    make_read_only(&root.join("dev"), 0)?;
    make_read_only(root, 0)?;

    chdir(root).with_context(|| format!("chdir({root:?})"))?;
    pivot_root(".", ".").context(r#"pivot_root(".", ".")"#)?;
    umount2(".", MntFlags::MNT_DETACH)
        .context(r#"umount2(".", MNT_DETACH)"#)?;
    chdir("/").context(r#"chdir("/")"#)?;
    Ok(Files {
        program,
        agent,
        own,
    })
}

/// Copies a program into the new root, and gives it to `owner`.
fn copy(mut source: &File, path: &Path, owner: u32) -> anyhow::Result<PathBuf> {
    let mut copy = File::create(below(path))
        .with_context(|| format!("making {path:?}"))?;
    io::copy(&mut source, &mut copy)?;
    copy.set_permissions(fs::Permissions::from_mode(0o755))?;
    fchown(&copy, Some(owner), Some(owner))?;
    Ok(path.to_owned())
}

/// The kernel's own files. The steps have to write to some in `/proc`, and the
/// owner of a file decides about it; of `/sys` they need the cgroups that were
/// made for them.
fn mount_kernels(cgroups: &[&Path]) -> anyhow::Result<()> {
    let flags = SECURE | MsFlags::MS_NOEXEC;
    mount_new("proc", &below("/proc"), flags, "")?;
    mount_new("sysfs", &below("/sys"), flags | MsFlags::MS_RDONLY, "")?;
    if Path::new(CGROUPS).is_dir() {
        bind(Path::new(CGROUPS), MsFlags::MS_REC)?;
        make_read_only(&below(CGROUPS), libc::AT_RECURSIVE)?;
    }
    for directory in cgroups {
        // As it is mounted outside: it can be written to.
        if directory.starts_with(CGROUPS) {
            bind(directory, MsFlags::empty())?;
        }
    }
    Ok(())
}

/// A `/dev` with terminals of its own: those of whoever grades are in another
/// instance. See pts(4).
fn mount_devices(owner: u32) -> anyhow::Result<()> {
    let root = Path::new(NEW_ROOT);
    let dev = root.join("dev");
    mount_new("tmpfs", &dev, MsFlags::MS_NOSUID, "mode=755")?;
    for path in DEVICES {
        if Path::new(path).exists() {
            File::create(below(path))?;
            bind(Path::new(path), MsFlags::empty())?;
            // The node is the machine's, and so is its mode: nobody but its owner
            // can change that. Where it is another's, the mount may be written to,
            // or nobody could tell whether a step makes its own read-only.
            if fs::metadata(path)?.uid() == owner {
                make_read_only(&below(path), 0)?;
            }
        }
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    mount_new("devpts", &dev.join("pts"), flags, options)?;
    for (target, name) in LINKS {
        symlink(target, root.join(name))?;
    }
    Ok(())
}

/// Makes a directory appear in the new root, to be read.
fn show(path: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = path.symlink_metadata() else {
        return Ok(());
    };
    let place = below(path);
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    if metadata.is_symlink() {
        return symlink(fs::read_link(path)?, &place)
            .with_context(|| format!("symlink({place:?})"));
    }
    fs::create_dir_all(&place)?;
    bind(path, MsFlags::MS_REC)?;
    make_read_only(&place, libc::AT_RECURSIVE)
}

/// Where a path of the machine will be, as long as the root is being made.
fn below(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    Path::new(NEW_ROOT).join(path.strip_prefix("/").unwrap_or(path))
}

fn bind(source: &Path, flags: MsFlags) -> anyhow::Result<()> {
    let flags = flags | MsFlags::MS_BIND;
    let none = None::<&str>;
    mount(Some(source), &below(source), none, flags, none)
        .with_context(|| format!("mount({source:?}, {flags:?})"))
}

fn mount_new(
    kind: &str,
    target: &Path,
    flags: MsFlags,
    options: &str,
) -> anyhow::Result<()> {
    fs::create_dir_all(target).with_context(|| format!("mkdir({target:?})"))?;
    let done = mount(Some(kind), target, Some(kind), flags, Some(options));
    done.with_context(|| format!("mount({kind:?}, {target:?}, {options:?})"))
}
