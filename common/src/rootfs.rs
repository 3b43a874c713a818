//! The directory that becomes `/` in the container.
//!
//! Either the reader names one (`--rootfs`), or it is the **default root file
//! system**: a small one that is built out of this machine itself, once, with
//! no download and no package. It is static BusyBox where there is one, else
//! nearly fifty tools of the host with the libraries that they need.
//!
//! Each program has one of its own. Steps 3 and 4 write into it for good, and
//! what a reader breaks in one step should break no other. Three things lie in
//! `<cache>/container-in-six-steps/<program>/`: the directory `rootfs`, the
//! list `sources` of the files that it was built from, and the file `lock`.
//! A `rootfs` that is gone, or whose sources have changed, is built anew; one
//! that was changed from the inside stays as it is. What was there before is
//! removed when no container runs in it any more; or kept as `rootfs.before-1`,
//! if somebody has written to it.

mod elf;
mod image;
mod old;
mod sources;
mod tools;

use std::{
    env,
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    io::ErrorKind,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{errno::Errno, fcntl::OFlag, sys::stat::SFlag, unistd::geteuid};

use crate::{
    errors::{PREPARING, errno},
    host::{
        PROJECT,
        files::{file_type, path_of},
        paths::{self, open_past_links},
        program_name,
    },
    sys,
};
use sources::Sources;

/// Returns the directory given by `--rootfs`, or else the default root file
/// system, which is built if it does not exist or its sources have changed.
///
/// The path is absolute and has no symbolic links in it. Whether there is a
/// shell in the directory is not looked at: `execve` will say so. Call it
/// before [`become_root`](crate::host::rootless::become_root), and while the process
/// has one thread only: it starts the dynamic loader to ask it for libraries.
///
/// # Errors
/// The directory does not belong to the user, or others may write to it; there
/// is nothing that it could be built of.
pub fn find(given: &Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match given {
        Some(dir) => directory(dir).with_context(|| {
            let name = sys::quoted(dir);
            format!("using {name} as the root file system")
        }),
        None => {
            let dir = default_dir()?;
            let image = up_to_date(&dir).context(PREPARING)?;
            Ok(DEFAULT_IN_USE.get_or_init(|| image).path.clone())
        }
    }
}

/// The default root file system, once [`find`] has returned it.
static DEFAULT_IN_USE: OnceLock<Image> = OnceLock::new();

/// An image that nobody removes as long as this process lives.
struct Image {
    path: PathBuf,
    _lock: File,
}

/// The default root file system, if this run uses it: a reader who has removed
/// its tools (steps 3 and 4 write into it) should learn how to get them back.
pub(crate) fn default_in_use() -> Option<&'static Path> {
    DEFAULT_IN_USE.get().map(|image| image.path.as_path())
}

/// The option that gave the layers which hide the shell of the image.
static TOOLS_HIDDEN_BY: OnceLock<&str> = OnceLock::new();

/// Remembers that the image has a shell, and that layers above it, given by
/// this option, hide it.
pub fn tools_hidden_by(option: &'static str) {
    TOOLS_HIDDEN_BY.get_or_init(|| option);
}

/// What [`tools_hidden_by`] was told.
pub(crate) fn what_hides_tools() -> Option<&'static str> {
    TOOLS_HIDDEN_BY.get().copied()
}

/// Returns the path of this program's default root file system, whether it
/// exists already or not. The program's name is that of its file: a symbolic
/// link to it shares its image.
///
/// It is below `/var/cache` for root: a home directory has often the mode 0700,
/// and the users of a container could not reach an image below it. For others
/// it is below `$XDG_CACHE_HOME`, or else `$HOME/.cache`. See the XDG Base
/// Directory Specification.
///
/// # Errors
/// Neither of the two variables holds an absolute path.
pub fn default_dir() -> anyhow::Result<PathBuf> {
    Ok(cache()?.join(PROJECT).join(program_file()).join("rootfs"))
}

/// The name of the file that this program is in, whatever it was started as.
fn program_file() -> PathBuf {
    let path = fs::read_link("/proc/self/exe").unwrap_or_default();
    let Some(name) = path.file_name() else {
        return program_name().into();
    };
    // So the kernel marks one that was built anew meanwhile. See proc(5).
    let name = name.as_bytes();
    OsStr::from_bytes(name.strip_suffix(b" (deleted)").unwrap_or(name)).into()
}

fn cache() -> anyhow::Result<PathBuf> {
    if geteuid().is_root() {
        return Ok(PathBuf::from("/var/cache"));
    }
    let absolute = |name| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .context(
            "no place for the default root file system: neither \
             XDG_CACHE_HOME nor HOME is an absolute path; set one, or name a \
             root file system with --rootfs",
        )
}

/// Checks that `dir` is a directory, and that no link of another user leads to
/// it, and returns its canonical path.
fn directory(dir: &Path) -> anyhow::Result<PathBuf> {
    path_of(&open_past_links(dir)?)
}

/// Returns the default root file system `dir`, after building it if that is
/// needed.
fn up_to_date(dir: &Path) -> anyhow::Result<Image> {
    let home = dir.parent().context("it has no parent directory")?;
    // Before anything is read or written there.
    let way = match paths::way_to(home) {
        Err(error) if errno(&error) == Some(Errno::ENOENT) => {
            make_home(home)?;
            paths::way_to(home)?
        }
        way => way?,
    };
    if check_owner(home)? & 0o077 != 0 {
        chmod(home, HOME_MODE)?;
    }
    loop {
        if let Some(lock) = current(dir)? {
            check_owner(dir)?;
            if old::exist(&way) {
                old::clear_away(&way, &lock_builders(&way)?)?;
            }
            let path = way.join("rootfs");
            return Ok(Image { path, _lock: lock });
        }
        build(dir)?;
    }
}

/// Whether [`find`] will have a default root file system. If it must be built,
/// this builds one, and removes it again.
///
/// # Errors
/// As [`find`].
pub fn try_default() -> anyhow::Result<()> {
    let dir = default_dir()?;
    try_directory(&dir).context(PREPARING)
}

fn try_directory(dir: &Path) -> anyhow::Result<()> {
    let home = dir.parent().context("it has no parent directory")?;
    let there = match paths::way_to(home) {
        Err(error) if errno(&error) == Some(Errno::ENOENT) => {
            let mut there = home.ancestors().filter(|dir| dir.exists());
            there.next().context("there is no directory at all")?
        }
        way => {
            way?;
            check_owner(home)?;
            if current(dir)?.is_some() {
                return check_owner(dir).map(drop);
            }
            home
        }
    };
    let trial = there.join(format!(".trial.{}", std::process::id()));
    let built = image::build(&trial, &mut Sources::default());
    remove_tree(&trial)?;
    built
}

/// If `dir` exists and was built from the files that the host has now: the list
/// of them, locked.
///
/// What is *in* it does not count: what was written into an image stays there,
/// even if that was `rm -rf /bin`. To start afresh, remove `dir`.
fn current(dir: &Path) -> anyhow::Result<Option<File>> {
    match dir.symlink_metadata() {
        Ok(_) => sources::hold_unchanged(&dir.with_file_name("sources")),
        Err(_) => Ok(None),
    }
}

/// Creates the directory for this program in the cache.
fn make_home(home: &Path) -> anyhow::Result<()> {
    let project = home.parent().context("it has no parent directory")?;
    let cache = project.parent().context("it has no parent directory")?;
    // 0700 is what the XDG Base Directory Specification wants for a user's
    // cache. Root's is there for all programs of the system.
    let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(cache)
        .with_context(|| format!("making the directories of {cache:?}"))?;
    for (dir, mode) in [(project, 0o755), (home, HOME_MODE)] {
        match image::make_dir(dir, mode) {
            Err(error) if exists(&error) => {}
            result => result?,
        }
    }
    Ok(())
}

fn exists(error: &anyhow::Error) -> bool {
    errno(error) == Some(Errno::EEXIST)
}

/// File systems take their times from a clock that moves in steps, of 10 ms
/// where they are longest (CONFIG_HZ is 100).
const TICK: Duration = Duration::from_millis(10);

/// Takes the lock of those who build or remove images in `home`.
///
/// Of two builders one waits here, until the other has finished or died: the
/// kernel lets go of the lock with its process. See flock(2).
fn lock_builders(home: &Path) -> anyhow::Result<File> {
    let path = home.join("lock");
    let file = sys::open(path, OFlag::O_WRONLY | OFlag::O_CREAT, 0o600)?;
    sys::flock(&file, libc::LOCK_EX)?;
    Ok(file.into())
}

/// Builds `dir` beside its place and moves it there, so that nobody ever sees
/// half of it.
fn build(dir: &Path) -> anyhow::Result<()> {
    let home = dir.parent().context("it has no parent directory")?;
    let new = home.join("rootfs.new");
    let list = home.join("sources");
    let lock = lock_builders(home)?;
    if current(dir)?.is_some() {
        return Ok(());
    }

    // Whoever left this behind is dead, as we have the lock.
    remove_tree(&new)?;

    let mut sources = Sources::default();
    if let Err(error) = image::build(&new, &mut sources) {
        // The disk may be full; and the next builder will complain if the rest
        // cannot be removed.
        let _ = remove_tree(&new);
        return Err(error);
    }

    // For a moment there is no `dir`. Another process takes that for a reason
    // to build, comes to the lock, waits, and then finds it.
    if dir.symlink_metadata().is_ok() {
        old::set_aside(dir, &list)?;
    }
    rename(&new, dir)?;
    // The list comes last: if we die before, the next one builds again. And it
    // is older than what will be written into the image, but younger than all
    // that is in it.
    thread::sleep(TICK);
    sources.write(&list)?;
    old::clear_away(home, &lock)
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    Ok(sys::rename(from, to)?)
}

/// Removes `dir` and all in it, if it exists. Symbolic links are removed, not
/// followed, even if somebody swaps them in meanwhile.
fn remove_tree(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("removing {dir:?}")),
    }
}

/// Checks that nobody else could have put programs in `dir`, which will be run
/// with the privileges of this user. Returns its mode.
fn check_owner(dir: &Path) -> anyhow::Result<u32> {
    let status = sys::lstat(dir)?;
    let user = geteuid();
    let mode = status.st_mode & 0o7777;
    let again = format!("`rm -rf {dir:?}`, and the next run builds it anew");
    if file_type(&status) != SFlag::S_IFDIR {
        bail!("{dir:?} is not a directory: {again}");
    }
    if status.st_uid != user.as_raw() {
        bail!(
            "{dir:?} belongs to user {}, not {user}: {again}",
            status.st_uid
        );
    }
    if mode & 0o022 != 0 {
        bail!("{dir:?} is writable by others (mode {mode:04o}): {again}");
    }
    Ok(mode)
}

/// The mode of the directory that an image lies in. What a container of steps 3
/// and 4 writes into the image is real on the host: by a set-uid program in it,
/// whoever can reach it becomes the user whose image it is.
///
/// The users in a container need not pass: their `/` is the image itself.
const HOME_MODE: u32 = 0o700;

/// Sets the permissions of `path` to `mode`, whatever the umask is.
fn chmod(path: &Path, mode: u32) -> anyhow::Result<()> {
    Ok(sys::chmod(path, mode)?)
}
