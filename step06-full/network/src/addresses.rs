//! Which addresses there are, and who has which.
//!
//! There is no database. A network is a directory, below one for the network
//! namespace in which its bridge is, and in it each address that
//! is in use is a file, which its container's parent keeps locked for as long
//! as it lives. So the kernel knows who has what, and forgets it by itself: an
//! address whose file can be locked is nobody's any more. See flock(2).

use std::{
    fs::{self, File},
    io::{Seek, Write},
    os::fd::{AsRawFd, RawFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use common::sys;
use libc::{LOCK_EX, LOCK_NB, LOCK_SH};
use nix::{errno::Errno, fcntl::OFlag, unistd::Pid};

use crate::{
    place::{NETWORKS, here},
    subnet::HOST,
};

/// A network's directory.
#[derive(Clone, Debug)]
pub struct Directory(pub(crate) PathBuf);

/// An address that is ours for as long as anybody has this descriptor.
#[derive(Debug)]
pub struct Lease {
    /// The number of the address in its subnet.
    pub number: u8,
    lock: File,
}

/// A process: its number, and when it was started, in clock ticks after boot.
pub(crate) type Process = (Pid, u64);

/// Who has an address, as its file says.
pub struct Member {
    /// The number of the address in its subnet.
    pub number: u8,
    /// What others can call it, with spaces between: its host name, and the name
    /// that people have given to the container.
    pub names: String,
    /// The container's first process, if it is there already.
    pub(crate) process: Option<Process>,
}

impl Directory {
    /// That of the network `name`, which is made if it is missing. Only root can
    /// look into it.
    pub fn open(name: &str) -> anyhow::Result<Directory> {
        let here = here()?;
        let directory = here.join(name);
        for path in [Path::new(NETWORKS), &here, &directory] {
            match sys::mkdir(path, 0o700) {
                Err(error) if error.errno == Errno::EEXIST => {}
                made => made?,
            }
        }
        Ok(Directory(directory))
    }

    /// The networks that there are in our network namespace.
    pub fn all() -> sys::Result<Vec<Directory>> {
        let here = here()?;
        let names = sys::readdir(&here).unwrap_or_default();
        let paths = names.iter().map(|name| here.join(name));
        Ok(paths.filter(|it| it.is_dir()).map(Directory).collect())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The name of its bridge.
    pub fn name(&self) -> &str {
        let name = self.0.file_name().and_then(|it| it.to_str());
        name.expect("it was made of a name")
    }

    /// Takes the first address that nobody has.
    ///
    /// To be called with the [`lock`](crate::place::lock) held.
    ///
    /// # Errors
    /// 253 containers have them all.
    pub fn lease(&self) -> anyhow::Result<Lease> {
        for number in HOST + 1..=254 {
            let flags = OFlag::O_CREAT | OFlag::O_RDWR;
            let lock = sys::open(self.file(number), flags, 0o600)?;
            match sys::flock(&lock, LOCK_EX | LOCK_NB) {
                Err(error) if error.errno == Errno::EWOULDBLOCK => {}
                locked => {
                    locked?;
                    let lock = File::from(lock);
                    return Ok(Lease { number, lock });
                }
            }
        }
        bail!(
            "all 253 addresses of the network {:?} are taken",
            self.name()
        )
    }

    fn file(&self, number: u8) -> PathBuf {
        self.0.join(number.to_string())
    }

    /// Who is there, by number.
    pub fn members(&self) -> Vec<Member> {
        let numbers = self.numbers().unwrap_or_default();
        let is_taken = |it: &u8| self.is_taken(*it).unwrap_or(true);
        let live = numbers.into_iter().filter(is_taken);
        live.map(|it| (it, fs::read_to_string(self.file(it))))
            .filter_map(|(number, says)| {
                Some(Member::read(number, &says.ok()?))
            })
            .collect()
    }

    /// Whether nobody is in it.
    ///
    /// # Errors
    /// It can't be known: there are too many open files, for example.
    pub fn is_empty(&self) -> sys::Result<bool> {
        for number in self.numbers()? {
            if self.is_taken(number)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a container that was connected is in it.
    pub(crate) fn has_a_process(&self) -> bool {
        self.members().iter().any(|it| it.process.is_some())
    }

    fn numbers(&self) -> sys::Result<Vec<u8>> {
        let names = sys::readdir(&self.0)?;
        let numbers = names.iter().filter_map(|it| it.to_str()?.parse().ok());
        let mut numbers: Vec<u8> = numbers.collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn is_taken(&self, number: u8) -> sys::Result<bool> {
        let file = sys::open(self.file(number), OFlag::O_RDONLY, 0);
        match file.and_then(|it| sys::flock(it, LOCK_SH | LOCK_NB)) {
            Err(error) if error.errno == Errno::EWOULDBLOCK => Ok(true),
            Err(error) if error.errno == Errno::ENOENT => Ok(false),
            locked => locked.map(|()| false),
        }
    }

    /// Gives an address back: its name is gone at once, its lock with the last
    /// descriptor.
    pub fn give_back(&self, number: u8) -> sys::Result<()> {
        match sys::unlink(self.file(number)) {
            Err(error) if error.errno == Errno::ENOENT => Ok(()),
            removed => removed,
        }
    }

    /// Removes what is left of a network that nobody is in.
    pub fn remove(&self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.0)
            .with_context(|| format!("removing {:?}", self.0))
    }
}

impl Lease {
    pub(crate) fn number_of_lock(&self) -> RawFd {
        self.lock.as_raw_fd()
    }

    /// Writes into the file who has the address: a line with its names, and
    /// one with the process. [`Member`] reads them.
    pub(crate) fn say(
        &self,
        names: &str,
        process: Option<Process>,
    ) -> anyhow::Result<()> {
        let mut who = format!("{names}\n");
        if let Some((pid, born)) = process {
            who += &format!("{pid} {born}\n");
        }
        let written = (&self.lock).rewind();
        written
            .and_then(|()| self.lock.set_len(0))
            .and_then(|()| (&self.lock).write_all(who.as_bytes()))
            .context("writing down who has the address")
    }
}

impl Member {
    /// The names, one by one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.split_whitespace()
    }

    fn read(number: u8, says: &str) -> Member {
        let mut lines = says.lines();
        let names = lines.next().unwrap_or_default().to_owned();
        let process = lines.next().and_then(|line| {
            let (pid, born) = line.split_once(' ')?;
            Some((Pid::from_raw(pid.parse().ok()?), born.parse().ok()?))
        });
        Member {
            number,
            names,
            process,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_look_into_is_not_empty() {
        let directory = format!("/tmp/networks-{}", std::process::id());
        let directory = Directory(directory.into());
        directory.is_empty().expect_err("it is not there");
        fs::create_dir(&directory.0).expect("mkdir");
        assert!(directory.is_empty().expect("it is there"));
        let lease = directory.lease().expect("all are free");
        assert!(!directory.is_empty().expect("somebody is in it"));
        drop(lease);
        assert!(directory.is_empty().expect("nobody is in it"));
        // It can be opened by nobody, not even by root.
        let file = directory.file(9);
        std::os::unix::fs::symlink(&file, &file).expect("symlink");
        directory.is_empty().expect_err("ELOOP");
        directory.remove().expect("it is ours");
    }
}
