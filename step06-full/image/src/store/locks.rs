//! Who is at work on what: locks, and whom somebody waits for.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;
use common::errors::escaped;
use nix::sys::stat::{major, minor};

use super::Store;
use crate::Digest;

/// How long somebody waits without a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked until then.
const INTERVAL: Duration = Duration::from_millis(10);

pub(super) enum Lock {
    Shared,
    Exclusive,
}

impl Store {
    /// Waits for a lock; it lasts as long as the file is open. Whoever has it
    /// may fetch much from far away: after a moment it is said who that is.
    pub(super) fn lock(&self, name: &str, lock: Lock) -> anyhow::Result<File> {
        let file = self.open_lock(name)?;
        let start = Instant::now();
        let locked = loop {
            let locked = match lock {
                Lock::Shared => file.try_lock_shared(),
                Lock::Exclusive => file.try_lock(),
            };
            match locked {
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    sleep(INTERVAL);
                }
                Err(TryLockError::WouldBlock) => {
                    (self.on_wait)(&waits_for(&file));
                    break match lock {
                        Lock::Shared => file.lock_shared(),
                        Lock::Exclusive => file.lock(),
                    };
                }
                Err(TryLockError::Error(error)) => break Err(error),
                Ok(()) => break Ok(()),
            }
        };
        locked.with_context(|| format!("flock({name:?})"))?;
        Ok(file)
    }

    pub(super) fn open_lock(&self, name: &str) -> anyhow::Result<File> {
        let path = self.dir.join("locks").join(name);
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("open({path:?}, O_WRONLY|O_CREAT)"))
    }
}

/// What whoever uses a layer has locked.
pub(super) fn layer_lock(chain_id: &Digest) -> String {
    format!("layer-{}", chain_id.hex())
}

/// Whom somebody waits for who wants this lock.
fn waits_for(lock: &File) -> String {
    let all = fs::read_to_string("/proc/locks").unwrap_or_default();
    let file = lock.metadata().map_or_else(
        |_| String::new(),
        |it| {
            let (major, minor) = (major(it.dev()), minor(it.dev()));
            format!("{major:02x}:{minor:02x}:{}", it.ino())
        },
    );
    let mut holders: Vec<String> = all
        .lines()
        .filter_map(|line| holder(line, &file))
        .map(|pid| match command(pid) {
            // It has ended, and what it has started has the lock.
            command if command.is_empty() => format!("process {pid}"),
            command => format!("{command} (process {pid})"),
        })
        .collect();
    holders.dedup();
    match holders.is_empty() {
        true => "waiting for somebody who works on the store".into(),
        false => format!("waiting for {}", holders.join(" and ")),
    }
}

/// Who has locked this `file`, which is called by the numbers of its device and
/// its own, if a line of /proc/locks says it. Those who wait have an arrow there.
/// See proc_locks(5).
fn holder(line: &str, file: &str) -> Option<u32> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, pid, locked, ..] = fields[..] else {
        return None;
    };
    // One of another PID namespace has no number here.
    let pid = pid.parse().ok().filter(|pid| *pid != 0);
    pid.filter(|_| locked == file)
}

/// What a process was asked to do.
fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    escaped(line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_a_holder() {
        let line = "3: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF";
        assert_eq!(holder(line, "fe:00:1234"), Some(4711));
        assert_eq!(holder(line, "fe:01:1234"), None);
        assert_eq!(holder(line, "fe:00:234"), None);
        let waiter = "3: -> FLOCK  ADVISORY  WRITE 4712 fe:00:1234 0 EOF";
        assert_eq!(holder(waiter, "fe:00:1234"), None);
    }
}
