//! A layer that is kept when its container is gone.
//!
//! What a container writes is real on the host. A set-uid program in upperdir
//! would make root of whoever can reach it, and upperdir can't be closed: its
//! mode is that of `/` inside. So both directories of overlay lie in a third
//! one, `DIR`, which is closed to all but its owner: `DIR/upper`, and
//! `DIR/work`, where the kernel prepares what it then moves to upper. A file
//! there, `DIR/running`, says whose they are.
//!
//! Whoever may write in a directory above `DIR` can put a link in its place
//! between two of our calls. So nothing is checked or changed by its path: each
//! directory is opened once, and the descriptor is looked at and used.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use common::{
    errors,
    host::{
        files::{by_number, file_type, path_of},
        paths::{open_directory, open_past_links},
    },
    process::Stat,
    sys::{self, NULL},
};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc::{LOCK_EX, LOCK_NB},
    mount::MsFlags,
    sys::stat::{FchmodatFlags, SFlag},
    unistd::{Pid, UnlinkatFlags, geteuid},
};

use crate::layers::check_dialect;

/// What lies in `DIR`.
pub(crate) const UPPER: &str = "upper";
pub(crate) const WORK: &str = "work";
const RUNNING: &str = "running";

/// How long a container takes to end that lost its parent. It has to write back
/// what it has in memory, if the disk is slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long its parent takes.
const A_MOMENT: Duration = Duration::from_millis(300);

/// The directory `DIR`, which no other container has.
pub struct Kept {
    /// Open, and locked until it is closed.
    directory: OwnedFd,
    /// Where it was when it was opened. What is there now may be another one.
    path: PathBuf,
    /// The same directory as a mount that is attached nowhere, for a container
    /// whose root could not reach `path`, or would own nothing there.
    pub(crate) mount: Option<OwnedFd>,
}

impl Kept {
    /// Opens the directory, or makes it, closed to others.
    pub(crate) fn open(given: &Path) -> anyhow::Result<Kept> {
        let directory = open_or_make(given)?;
        let uid = sys::fstat(&directory)?.st_uid;
        ensure!(
            uid == geteuid().as_raw(),
            "it belongs to user {uid}, not to {}",
            geteuid()
        );
        lock(&directory)?;
        close_to_others(&directory, given)?;
        wait_for_the_last(&directory)?;
        // What is wrong there should be known before anything is made.
        if let Some(upper) = open_inside(&directory, UPPER, OFlag::O_PATH)? {
            check_dialect(upper)?;
        }
        open_inside(&directory, WORK, OFlag::O_PATH)?;
        Ok(Kept {
            path: path_of(&directory)?,
            directory,
            mount: None,
        })
    }

    /// A path that leads to this directory, whatever its name is by now.
    pub(crate) fn by_number(&self) -> PathBuf {
        by_number(&self.directory)
    }

    /// Where it was when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, as the process that mounts must open it: as a
    /// [lower](crate::layers::Lower::open) one.
    pub(crate) fn open_again(&self, place: &Path) -> anyhow::Result<OwnedFd> {
        let directory = match &self.mount {
            Some(mount) => attach(mount, place)?,
            None => open_same(&self.path, &self.directory)?,
        };
        sign(&directory)?;
        Ok(directory)
    }
}

/// Leaves our number in `directory`, for [`wait_for_the_last`]: the lock is our
/// parent's, which may be killed before us.
fn sign(directory: &OwnedFd) -> anyhow::Result<()> {
    // That of the host's /proc, so not number 1.
    let us = Stat::of_this_process()?;
    // Whatever has the name is of no use any more; only a directory stays.
    match sys::unlinkat(directory, RUNNING, UnlinkatFlags::NoRemoveDir) {
        Err(error) if error.errno == Errno::ENOENT => {}
        removed => removed?,
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let file = sys::openat(directory, RUNNING, flags, 0o600)?;
    // At once, so that nobody reads half of it.
    let text = format!("{} {}\n", us.pid, us.start_time);
    Ok(sys::write(file, text)?)
}

impl Drop for Kept {
    /// Removes what the kernel leaves in its work directory: one of mode 0 with
    /// a whiteout or two in it, at which `rm -r` fails for all but root.
    ///
    /// The container has ended, and the lock is still ours. In the container's
    /// process nothing is dropped: it ends by an exec or by _exit(2).
    fn drop(&mut self) {
        // If it stays, it says that the container has ended.
        let flags = UnlinkatFlags::NoRemoveDir;
        let _ = sys::unlinkat(&self.directory, RUNNING, flags);
        if let Err(error) = clean_workdir(&self.directory) {
            let aim = format!("cleaning the work directory in {:?}", self.path);
            errors::warning(&error.context(aim));
        }
    }
}

fn clean_workdir(directory: &OwnedFd) -> anyhow::Result<()> {
    let Some(workdir) = open_inside(directory, WORK, OFlag::O_PATH)? else {
        return Ok(());
    };
    let flags = FchmodatFlags::NoFollowSymlink;
    match sys::fchmodat(&workdir, WORK, 0o700, flags) {
        Err(error) if error.errno == Errno::ENOENT => return Ok(()),
        changed => changed?,
    }
    // Follows no links below the descriptor that its path begins with.
    let left = by_number(&workdir).join(WORK);
    fs::remove_dir_all(left).context(r#"removing "work" in it"#)
}

/// Opens the directory `given`; if there is none it is made.
fn open_or_make(given: &Path) -> anyhow::Result<OwnedFd> {
    // "/", "." and ".." have no name, and exist.
    let (parent, name) = match (given.parent(), given.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        _ => (given, OsStr::new(".")),
    };
    let parent = open_past_links(parent)?;
    match sys::mkdirat(&parent, name, 0o700) {
        Err(error) if error.errno == Errno::EEXIST => {}
        made => {
            made?;
            // mkdir takes away what the reader's umask says.
            let flags = FchmodatFlags::NoFollowSymlink;
            sys::fchmodat(&parent, name, 0o700, flags)?;
        }
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    match sys::openat(&parent, name, flags, 0) {
        Err(error) if error.errno == Errno::ENOTDIR => bail!(
            "it is a file or a symbolic link: name a directory, the one that \
             the link leads to"
        ),
        opened => Ok(opened?),
    }
}

/// Keeps other containers away from `directory`: overlay itself only warns, in
/// the kernel's log, when two mounts write to one upper directory and destroy
/// each other's work.
///
/// The lock belongs to what was opened, not to this process. It lasts until the
/// last copy of the descriptor is closed, however that happens: if we are
/// killed, the kernel kills the container with us, a moment later. See flock(2).
fn lock(directory: &OwnedFd) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        match sys::flock(directory, LOCK_EX | LOCK_NB) {
            Err(error) if error.errno == Errno::EWOULDBLOCK => {}
            locked => return Ok(locked?),
        }
        // The other one may have been killed just now.
        ensure!(
            start.elapsed() < A_MOMENT,
            "it is in use by another container"
        );
        sleep(Duration::from_millis(10));
    }
}

/// Waits for the end of the container that had `directory` before, if it was
/// killed from outside: the lock is gone with its parent, and the kernel kills
/// its processes a moment later.
fn wait_for_the_last(directory: &OwnedFd) -> anyhow::Result<()> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let running = match sys::openat(directory, RUNNING, flags, 0) {
        // A link is nothing that we have left there.
        Err(error) if [Errno::ENOENT, Errno::ELOOP].contains(&error.errno) => {
            return Ok(());
        }
        opened => opened?,
    };
    let mut text = String::new();
    if file_type(&sys::fstat(&running)?) == SFlag::S_IFREG {
        let mut beginning = File::from(running).take(64);
        // A machine that was switched off may have left anything.
        let _ = beginning.read_to_string(&mut text);
    }
    let numbers = text.trim().split_once(' ');
    let numbers = numbers.map(|(pid, start)| (pid.parse(), start.parse()));
    let Some((Ok(pid @ 1..), Ok(start_time))) = numbers else {
        return Ok(());
    };
    let pid = Pid::from_raw(pid);
    let start = Instant::now();
    while !Stat::is_gone(pid, start_time) {
        ensure!(
            start.elapsed() < PATIENCE,
            "it is in use by another container, of process {pid}"
        );
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Makes sure that nobody else gets into `directory`. One that was open and is
/// empty is closed; if something is in it, its owner has to decide.
fn close_to_others(directory: &OwnedFd, given: &Path) -> anyhow::Result<()> {
    let was_empty = is_empty(directory)?;
    let mode = sys::fstat(directory)?.st_mode & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let why = match mode & 0o022 {
        0 => format!(
            "others may enter it (mode {mode:04o}), and what is set-uid in it \
             is so for them: chmod 700 {given:?}"
        ),
        _ => format!(
            "others may write to it (mode {mode:04o}), and perhaps they have: \
             name another one"
        ),
    };
    ensure!(was_empty, "{why}");
    sys::fchmod(directory, 0o700)?;
    // Somebody may have been quicker.
    ensure!(is_empty(directory)?, "{why}");
    Ok(())
}

/// Whether `directory` is empty. An error if there is anything in it but what
/// belongs to a layer: then it is something else, a home perhaps.
fn is_empty(directory: &OwnedFd) -> anyhow::Result<bool> {
    let mut is_empty = true;
    for name in sys::readdir(by_number(directory))? {
        ensure!(
            [UPPER, WORK, RUNNING].iter().any(|ours| name == *ours),
            "there is {name:?} in it, so it is no layer: name an empty \
             directory, or one that does not exist"
        );
        is_empty = false;
    }
    Ok(is_empty)
}

/// Makes `name` in `parent` with this mode, or takes the one that is there, and
/// opens it.
pub(crate) fn make_inside(
    parent: impl AsFd,
    name: &str,
    mode: u32,
) -> anyhow::Result<OwnedFd> {
    let is_new = match sys::mkdirat(&parent, name, mode) {
        Err(error) if error.errno == Errno::EEXIST => false,
        made => made.map(|()| true)?,
    };
    let opened = open_inside(parent, name, OFlag::O_RDONLY)?;
    let opened = opened.with_context(|| format!("{name:?} is gone"))?;
    if is_new {
        // mkdir takes away what the reader's umask says.
        sys::fchmod(&opened, mode)?;
    }
    Ok(opened)
}

/// Opens the directory `name` in `parent`, if there is one. A symbolic link
/// there is an error (`ENOTDIR`).
pub(crate) fn open_inside(
    parent: impl AsFd,
    name: &str,
    access: OFlag,
) -> sys::Result<Option<OwnedFd>> {
    let flags = access | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    match sys::openat(parent, name, flags, 0) {
        Err(error) if error.errno == Errno::ENOENT => Ok(None),
        opened => opened.map(Some),
    }
}

/// Attaches the mount `detached` at `place`, and opens it. See open_tree(2).
pub(crate) fn attach(detached: &OwnedFd, place: &Path) -> sys::Result<OwnedFd> {
    let flags = MsFlags::MS_MOVE;
    sys::mount(by_number(detached), place, NULL, flags, NULL)?;
    sys::dup(detached)
}

/// Opens the directory `path` once more, which has to be the one that is open as
/// `directory` already.
pub(crate) fn open_same(
    path: &Path,
    directory: impl AsFd,
) -> anyhow::Result<OwnedFd> {
    let again = open_directory(path)?;
    let now = sys::fstat(&again)?;
    let then = sys::fstat(directory)?;
    ensure!(
        (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino),
        "somebody has put another directory in the place of {path:?}"
    );
    Ok(again)
}
