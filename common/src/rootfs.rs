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
    ffi::OsStr,
    fs::{self, File},
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use nix::{errno::Errno, fcntl::OFlag, sys::stat::SFlag, unistd::geteuid};

use crate::{
    errors::{Advice, PREPARING, errno, pages},
    host::{
        PROJECT, base_directory,
        files::{file_type, path_of},
        machine,
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
            let image = prepared(up_to_date(&dir))?;
            Ok(DEFAULT_IN_USE.get_or_init(|| image).path.clone())
        }
    }
}

/// Adds the aim to an error, and what to do about a limit that is seldom met.
fn prepared<T>(result: anyhow::Result<T>) -> anyhow::Result<T> {
    result.context(PREPARING).map_err(|error| {
        if errno(&error) != Some(Errno::EFBIG) {
            return error;
        }
        error.context(Advice {
            cause: "the limit on the size of a file is too small".into(),
            ..Advice::only("raise it: ulimit -f unlimited")
        })
    })
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

/// What to do about an image whose tools somebody has removed.
pub fn how_to_get_tools_back(root: &Path) -> Advice {
    Advice {
        cause: "this root file system has lost its tools".into(),
        fix: format!("rm -rf {root:?}, and the next run builds it anew"),
        page: pages::STEP_3.to_string(),
    }
}

/// Returns the path of this program's default root file system, whether it
/// exists already or not. The program's name is that of its file: a symbolic
/// link to it shares its image.
///
/// # Errors
/// Those of [`default_dir_of`].
pub fn default_dir() -> anyhow::Result<PathBuf> {
    default_dir_of(&program_file())
}

/// Returns the path of the default root file system of the program that is in a
/// file of this name.
///
/// It is below `/var/cache` for root: a home directory has often the mode 0700,
/// and the users of a container could not reach an image below it. For others
/// it is below `$XDG_CACHE_HOME`, or else `$HOME/.cache`. See the XDG Base
/// Directory Specification.
///
/// # Errors
/// Neither of the two variables holds an absolute path.
pub fn default_dir_of(program: &Path) -> anyhow::Result<PathBuf> {
    Ok(cache()?.join(PROJECT).join(program).join("rootfs"))
}

/// The name of the file that this program is in, whatever it was started as.
pub fn program_file() -> PathBuf {
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
    base_directory("XDG_CACHE_HOME", ".cache").context(
        "no place for the default root file system: neither XDG_CACHE_HOME \
         nor HOME is an absolute path; set one, or name a root file system \
         with --rootfs",
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
    let way = match way_to(home)? {
        Some(way) => way,
        None => {
            make_home(home)?;
            paths::way_to(home)?
        }
    };
    if check_owner(home)? & 0o077 != 0 {
        chmod(home, HOME_MODE)?;
    }
    check_kinds(home)?;
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

/// The way to `home`, each part of which is in order; `None` if a part is
/// missing.
fn way_to(home: &Path) -> anyhow::Result<Option<PathBuf>> {
    match paths::way_to(home) {
        Err(error) if errno(&error) == Some(Errno::ENOENT) => {
            // But not one that is too long: half of it would be made.
            match sys::lstat(home) {
                Err(error) if error.errno != Errno::ENOENT => Err(error.into()),
                _ => Ok(None),
            }
        }
        way => way.map(Some),
    }
}

/// Whether the program that is in a file of this name will have its default root
/// file system when it asks [`find`] for it. If it must be built, this builds
/// one, and removes it again.
///
/// Returns where it is, if it is there already.
///
/// # Errors
/// As [`find`].
pub fn try_default_of(program: &Path) -> anyhow::Result<Option<PathBuf>> {
    let dir = default_dir_of(program)?;
    let there = prepared(try_directory(&dir))?;
    Ok(there.then_some(dir))
}

/// As [`up_to_date`], but it changes nothing. Returns whether `dir` is there, up
/// to date.
fn try_directory(dir: &Path) -> anyhow::Result<bool> {
    let home = dir.parent().context("it has no parent directory")?;
    let trial = format!(".trial.{}", std::process::id());
    if way_to(home)?.is_none() {
        return try_home(home, Path::new(&trial)).map(|()| false);
    }
    check_owner(home)?;
    check_kinds(home)?;
    let current = current(dir)?;
    if current.is_some() {
        check_owner(dir)?;
    }
    if current.is_none() || old::exist(home) {
        // Whoever builds now, or clears away, waits for it.
        match open_lock(home, OFlag::empty()) {
            Err(error) if errno(&error) == Some(Errno::ENOENT) => {}
            opened => drop(opened?),
        }
    }
    if current.is_none() {
        try_to_build(&home.join(&trial))?;
    } else if old::exist(home) {
        old::list(home)?;
    }
    Ok(current.is_some())
}

/// Makes what is missing of `home` as [`make_home`] does, but under another name,
/// and builds an image there: another run may make the real one meanwhile, and
/// need it.
fn try_home(home: &Path, name: &Path) -> anyhow::Result<()> {
    let missing = |dir: &&Path| dir.symlink_metadata().is_err();
    let first = home.ancestors().take_while(missing).last();
    let first = first.context("it is there by now")?;
    let below = first.parent().context("there is no directory at all")?;
    let trial = below.join(name);
    // Before anything is made below it: in a directory like /tmp, what has this
    // name may be somebody else's.
    image::make_dir(&trial, mode_of_cache())?;
    let rest = home.strip_prefix(first)?;
    let tried = match rest.iter().next() {
        None => try_to_build(&trial.join("rootfs")),
        Some(_) => {
            let home = trial.join(rest);
            make_home(&home).and_then(|()| try_to_build(&home.join("rootfs")))
        }
    };
    remove_tree(&trial)?;
    tried
}

/// Builds an image, and removes it.
fn try_to_build(trial: &Path) -> anyhow::Result<()> {
    let built = image::build(trial, &mut Sources::default());
    remove_tree(trial)?;
    built
}

/// If `dir` exists and was built from the files that the host has now: the list
/// of them, locked.
///
/// What is *in* it does not count: what was written into an image stays there,
/// even if that was `rm -rf /bin`. To start afresh, remove `dir`.
fn current(dir: &Path) -> anyhow::Result<Option<File>> {
    match dir.symlink_metadata() {
        Ok(status) if status.is_dir() => {
            sources::hold_unchanged(&dir.with_file_name("sources"))
        }
        _ => Ok(None),
    }
}

/// Creates the directory for this program in the cache.
fn make_home(home: &Path) -> anyhow::Result<()> {
    let project = home.parent().context("it has no parent directory")?;
    let cache = project.parent().context("it has no parent directory")?;
    let missing = |dir: &&Path| dir.symlink_metadata().is_err();
    let missing: Vec<&Path> = cache.ancestors().take_while(missing).collect();
    let missing = missing.into_iter().rev().map(|dir| (dir, mode_of_cache()));
    for (dir, mode) in missing.chain([(project, 0o755), (home, HOME_MODE)]) {
        match image::make_dir(dir, mode) {
            Err(error) if exists(&error) => {}
            result => result?,
        }
    }
    Ok(())
}

/// 0700 is what the XDG Base Directory Specification wants for a user's cache.
/// Root's is there for all programs of the system.
fn mode_of_cache() -> u32 {
    if geteuid().is_root() { 0o755 } else { 0o700 }
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
    let file = open_lock(home, OFlag::O_CREAT)?;
    sys::flock(&file, libc::LOCK_EX)?;
    Ok(file)
}

fn open_lock(home: &Path, flags: OFlag) -> anyhow::Result<File> {
    let flags = flags | OFlag::O_WRONLY | OFlag::O_NOFOLLOW;
    Ok(sys::open(home.join("lock"), flags, 0o600)?.into())
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
        let whom = status.st_uid;
        // In a user namespace, root is somebody else there.
        let mine = user.is_root() && machine::in_initial_user_namespace();
        let advice = match mine {
            true => again,
            false => "have it removed, or use --rootfs".into(),
        };
        bail!("{dir:?} belongs to user {whom}, not {user}: {advice}");
    }
    if mode & 0o022 != 0 {
        bail!("{dir:?} is writable by others (mode {mode:04o}): {again}");
    }
    Ok(mode)
}

/// What lies in the directory of an image, and of what kind it is. (An image of
/// another kind is no obstacle: it is set aside.)
const KINDS: [(&str, SFlag, &str); 5] = [
    ("lock", SFlag::S_IFREG, "a regular file"),
    ("sources", SFlag::S_IFREG, "a regular file"),
    ("sources.new", SFlag::S_IFREG, "a regular file"),
    ("rootfs.new", SFlag::S_IFDIR, "a directory"),
    ("old", SFlag::S_IFDIR, "a directory"),
];

/// Checks that nothing else is where ours belongs: to open a FIFO would be to
/// wait for ever. Nobody else can put something there, as `home` is closed.
fn check_kinds(home: &Path) -> anyhow::Result<()> {
    for (name, kind, in_words) in KINDS {
        let path = home.join(name);
        let status = match sys::lstat(&path) {
            Err(error) if error.errno == Errno::ENOENT => continue,
            status => status?,
        };
        ensure!(
            file_type(&status) == kind,
            "{path:?} is not {in_words}: `rm -rf {home:?}`, and the next run \
             builds it anew"
        );
    }
    Ok(())
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
