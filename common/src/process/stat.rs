//! What `/proc` says of a process.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::Context;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::signal::kill,
    unistd::{Pid, getpid},
};

use crate::{
    host::files::{read_kernel_file, text},
    sys,
};

/// Fields of `/proc/PID/stat`. The number and the start time together mean one
/// process for ever; a pid alone is used again. See proc(5).
pub struct Stat {
    /// Field 1: its number, in the PID namespace that `/proc` belongs to.
    pub pid: Pid,
    /// Field 3: what it does, as a letter.
    state: char,
    /// Field 4: its parent.
    parent: Pid,
    /// Field 5: its process group.
    group: Pid,
    /// Field 20: how many threads it has.
    threads: u32,
    /// Field 22: when it started, in clock ticks after boot.
    pub start_time: u64,
}

impl Stat {
    /// Reads those of the process `pid`; `None` if `/proc`
    /// shows no such process.
    pub fn read(pid: &str) -> Option<Stat> {
        let bytes = read_kernel_file(format!("/proc/{pid}/stat")).ok()?;
        Stat::parse(&text(bytes))
    }

    /// Reads those of this process.
    ///
    /// # Errors
    /// That of open(2) or read(2), such as `ENOENT` without `/proc`; or it is in
    /// no form that we know.
    pub fn of_this_process() -> anyhow::Result<Stat> {
        let path = "/proc/self/stat";
        Stat::parse(&text(read_kernel_file(path)?))
            .with_context(|| format!("{path} is not as proc(5) has it"))
    }

    /// Whether it has ended. A zombie (`Z`) keeps its number and its start time
    /// until its parent waits for it, which may be never; `X` is on its way out.
    ///
    /// The letter is that of the first thread, which may end before others: then
    /// the process goes on without it.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x') && self.threads < 2
    }

    /// Whether the process that had this number and this start time runs no
    /// more. In doubt it does.
    pub fn is_gone(pid: Pid, start_time: u64) -> bool {
        // /proc may be mounted so that it hides the processes of other users;
        // signal 0, which is not sent, tells about them, too. See kill(2).
        if kill(pid, None) == Err(Errno::ESRCH) {
            return true;
        }
        Stat::read(&pid.to_string()).is_some_and(|stat| {
            stat.start_time != start_time || stat.has_ended()
        })
    }

    /// A descriptor that means the process with this number and this start time
    /// for ever; `None` if it runs no more. See pidfd_open(2).
    pub fn open(pid: Pid, start_time: u64) -> sys::Result<Option<OwnedFd>> {
        let opened = match sys::pidfd_open(pid) {
            Err(error) if means_none(error.errno) => return Ok(None),
            opened => opened?,
        };
        // Where /proc hides it, the descriptor still says whether it has ended.
        let end = PollFd::new(opened.as_fd(), PollFlags::POLLIN);
        let has_ended = sys::poll(&mut [end], PollTimeout::ZERO)? != 0;
        // Opened first, compared second: from here on the number means nothing.
        let is_gone = has_ended || Stat::is_gone(pid, start_time);
        Ok((!is_gone).then_some(opened))
    }

    /// Whether the process `pid` is `ancestor`, or a child of it, or of such a
    /// one. In doubt, when there is no such process any more, it is.
    pub(crate) fn descends(mut pid: Pid, ancestor: Pid) -> bool {
        while pid != ancestor {
            match Stat::read(&pid.to_string()) {
                Some(stat) if stat.parent.as_raw() > 0 => pid = stat.parent,
                Some(_) => return false,
                None => break,
            }
        }
        true
    }

    /// Whether another process is in the process group `group`, but for our
    /// ancestors: a shell without job control is one, and waits for us.
    pub(super) fn others_in_group(group: Pid) -> bool {
        let Ok(entries) = fs::read_dir("/proc") else {
            return false;
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let numbers = names.filter_map(|it| it.to_str()?.parse::<i32>().ok());
        numbers
            .filter_map(|pid| Stat::read(&pid.to_string()))
            .any(|it| {
                it.group == group
                    && !it.has_ended()
                    && !Stat::descends(getpid(), it.pid)
            })
    }

    /// Field 2 is the program's name in parentheses, with whatever the user
    /// has put into it: parentheses and spaces, for example.
    fn parse(text: &str) -> Option<Stat> {
        let pid = text.split(' ').next()?.parse().ok()?;
        let (_, after_name) = text.rsplit_once(") ")?;
        let mut fields = after_name.split(' ');
        let state = fields.next()?.parse().ok()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let threads = fields.nth(20 - 6)?.parse().ok()?;
        let start_time = fields.nth(22 - 21)?.parse().ok()?;
        Some(Stat {
            pid: Pid::from_raw(pid),
            state,
            parent: Pid::from_raw(parent),
            group: Pid::from_raw(group),
            threads,
            start_time,
        })
    }
}

/// Whether pidfd_open(2) says that no process has this number. One that a thread
/// has, which is not the first of its process, means none either: `ENOENT`, or
/// `EINVAL` before Linux 6.15. See the kernel's `pidfd_prepare`.
fn means_none(errno: Errno) -> bool {
    [Errno::ESRCH, Errno::ENOENT, Errno::EINVAL].contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_can_hold_anything() {
        let text = "1234 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 \
                    18 567890 20 21\n";
        let stat = Stat::parse(text).expect("22 fields");
        assert_eq!(stat.pid, Pid::from_raw(1234));
        assert_eq!(stat.parent, Pid::from_raw(1));
        assert_eq!(stat.group, Pid::from_raw(2));
        assert_eq!(stat.start_time, 567_890);
        assert!(!stat.has_ended());
    }

    #[test]
    fn a_zombie_has_ended() {
        let text =
            "1 (a) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 1 18 19 20\n";
        assert!(Stat::parse(text).expect("22 fields").has_ended());
        let text =
            "1 (a) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 2 18 19 20\n";
        assert!(!Stat::parse(text).expect("22 fields").has_ended());
    }

    /// What was a process's number may be a thread's by now.
    #[test]
    fn a_thread_is_no_process() {
        let (us, start) = (getpid(), Stat::of_this_process());
        let start = start.expect("there is /proc").start_time;
        let open = |pid| Stat::open(pid, start).expect("it is known");
        assert!(open(us).is_some());
        let thread = std::thread::spawn(nix::unistd::gettid);
        let ended = thread.join().expect("it ends");
        assert!(open(ended).is_none());
        std::thread::spawn(move || {
            let thread = nix::unistd::gettid();
            assert_ne!(thread, us);
            // It started in the same clock tick, or not.
            let path = format!("self/task/{thread}");
            let its = Stat::read(&path).expect("it runs").start_time;
            let opened = Stat::open(thread, its).expect("it is known");
            assert!(opened.is_none());
        })
        .join()
        .expect("it is none");
    }
}
