//! Who makes a container in a cgroup, or removes the cgroup, is alone there.
//!
//! Of two containers that are made at once at the same path, both would find the
//! cgroup empty. So the directories are locked until there is a process in them,
//! and are looked at once more under the lock. Whoever can open a directory can
//! lock it, so it is not the directory itself that is locked, but a byte of a file
//! that is ours alone, the same for each `--root`: the byte whose number is that
//! of the directory. The lock ends with its holder. See fcntl(2), "Open file
//! description locks".

use std::{
    os::fd::OwnedFd,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use common::sys;
use nix::{errno::Errno, fcntl::OFlag, sys::stat::FileStat};

use super::place::Place;
use crate::state;

/// How long somebody else may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Held as long as this is open. The container's process has copies, until it
/// closes what it was born with.
pub(super) struct Lock {
    /// None where there is no place for it: then the directories are locked.
    _file: Option<OwnedFd>,
    directories: Vec<OwnedFd>,
}

impl Lock {
    /// Waits for those of all directories of `place`, in the same order as
    /// everybody does.
    ///
    /// # Errors
    /// Somebody keeps one for too long, or has removed a directory meanwhile.
    pub(super) fn take(place: &Place) -> anyhow::Result<Lock> {
        let lock = Lock::of_those_there(place)?;
        ensure!(
            lock.directories.len() == place.parts.len(),
            "somebody else has removed the container's cgroup"
        );
        Ok(lock)
    }

    /// The same for what is to be removed: what is gone needs none. systemd may
    /// remove it at any time.
    pub(super) fn of_those_there(place: &Place) -> anyhow::Result<Lock> {
        let file = open_file().ok();
        let mut directories = Vec::new();
        for part in &place.parts {
            directories.extend(take_one(&part.directory, file.as_ref())?);
        }
        Ok(Lock {
            _file: file,
            directories,
        })
    }
}

/// The file that nobody else can open. No container has its name.
fn open_file() -> anyhow::Result<OwnedFd> {
    let root = state::default_root()?;
    state::make_root(&root)?;
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
    Ok(sys::open(root.join(".cgroups"), flags, 0o600)?)
}

/// The byte for a directory. Two with the same one only wait for each other.
fn byte(directory: &FileStat) -> libc::off_t {
    let number = directory.st_ino ^ (directory.st_dev << 40);
    // The kernel takes none below 0, nor one with nothing behind it.
    (number & i64::MAX.cast_unsigned() >> 1).cast_signed()
}

/// `None` if it is gone by the time that the lock is ours.
fn take_one(
    path: &Path,
    file: Option<&OwnedFd>,
) -> anyhow::Result<Option<OwnedFd>> {
    let directory = match sys::open(path, OFlag::O_DIRECTORY, 0) {
        Err(error) if error.errno == Errno::ENOENT => return Ok(None),
        opened => opened?,
    };
    let ours = sys::fstat(&directory)?;
    let try_it = || match file {
        Some(file) => sys::fcntl_ofd_setlk(file, byte(&ours)),
        None => sys::flock(&directory, libc::LOCK_EX | libc::LOCK_NB),
    };
    let start = Instant::now();
    loop {
        match try_it() {
            Err(error)
                if error.errno == Errno::EWOULDBLOCK
                    && start.elapsed() < PATIENCE => {}
            locked => break locked.context("somebody else is at work on it"),
        }
        sleep(Duration::from_millis(1));
    }
    .with_context(|| format!("locking the cgroup {path:?}"))?;
    let there = sys::stat(path);
    let same = there
        .is_ok_and(|it| (it.st_dev, it.st_ino) == (ours.st_dev, ours.st_ino));
    Ok(same.then_some(directory))
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, thread};

    use super::{super::place::Part, *};

    fn place(directories: &[&Path]) -> Place {
        let part = |directory: &&Path| Part {
            directory: (*directory).to_owned(),
            ..Part::default()
        };
        Place {
            parts: directories.iter().map(part).collect(),
            ..Place::default()
        }
    }

    #[test]
    fn only_one_has_the_lock() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = place(&[directory.path()]);
        let first = Lock::take(&place).expect("it is free");
        let (send, receive) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let taken = Lock::take(&place).map(drop);
                send.send(taken).expect("it is heard");
            });
            let short = Duration::from_millis(50);
            receive.recv_timeout(short).expect_err("it is taken");
            drop(first);
            let taken = receive.recv().expect("it is said");
            taken.expect("it is free again");
        });
    }

    /// All may lock a directory that they can open.
    #[test]
    fn who_locks_the_directory_locks_nothing() {
        if open_file().is_err() {
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let other = fs::File::open(directory.path()).expect("all may");
        other.lock().expect("it is free");
        Lock::take(&place(&[directory.path()])).expect("it is ours");
    }

    #[test]
    fn what_is_gone_is_none_to_remove_and_an_error_to_make() {
        let directory = tempfile::tempdir().expect("a directory");
        let gone = directory.path().join("gone");
        let place = place(&[directory.path(), &gone]);
        Lock::of_those_there(&place).expect("it is no matter");
        let error = Lock::take(&place).err().expect("it is gone");
        assert!(error.to_string().contains("has removed"), "{error}");
        // Or it goes while it is waited for.
        fs::create_dir(&gone).expect("it is new");
        let first = Lock::take(&place).expect("all are there");
        thread::scope(|scope| {
            let other = scope.spawn(|| Lock::take(&place).map(drop));
            sleep(Duration::from_millis(50));
            fs::remove_dir(&gone).expect("it is empty");
            drop(first);
            other.join().expect("it ends").expect_err("it is gone");
        });
    }
}
