//! Processes that do something for a container, beside its parent.
//!
//! Each is a child of the monitor and ends with it: nothing is left of them,
//! whatever has ended that one.

use std::{
    os::fd::RawFd,
    thread::sleep,
    time::{Duration, Instant},
};

use common::{
    process::{self, Change, close_own_descriptors, end_with, exit},
    sys::{self, signals::sigprocmask},
};
use nix::{
    libc::{STDERR_FILENO, STDIN_FILENO},
    sys::signal::{SigSet, SigmaskHow, Signal, kill},
    unistd::{Pid, getpid},
};

/// A helper; dropped, it is killed.
pub(crate) struct Helper {
    /// What it needs of ours.
    kept: Vec<RawFd>,
    work: Box<Work>,
    process: Option<Pid>,
    /// Whose child it is.
    parent: Pid,
    /// How often it was started.
    starts: u32,
}

/// As often as somebody may kill a helper: one that can't live is not started
/// for ever.
const STARTS_MAX: u32 = 1000;

type Work = dyn Fn() -> anyhow::Result<()>;

impl Helper {
    /// Starts a helper that does `work` and has nothing of ours but the
    /// descriptors `kept`, which `work` owns.
    pub(crate) fn start(
        kept: Vec<RawFd>,
        work: impl Fn() -> anyhow::Result<()> + 'static,
    ) -> anyhow::Result<Helper> {
        let mut helper = Helper {
            kept,
            work: Box::new(work),
            process: None,
            parent: getpid(),
            starts: 0,
        };
        helper.begin()?;
        Ok(helper)
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        let (ready, tell) = sys::pipe2()?;
        let pid = process::fork(|| {
            leave_behind(self.parent, &self.kept)?;
            (self.work)()?;
            exit(0)
        })?;
        self.process = Some(pid);
        self.starts += 1;
        drop(tell);
        // Until its copy of `tell` is closed, and with it that of the gate, by
        // which the container would take the dead monitor for a living one.
        sys::read(ready, &mut [0])?;
        Ok(())
    }

    /// If it was killed, another one takes its place: what it has worked on is
    /// still open here.
    pub(crate) fn look_after(&mut self) -> anyhow::Result<()> {
        match self.end()? {
            Some(1..) if self.starts < STARTS_MAX => self.begin(),
            _ => Ok(()),
        }
    }

    /// Its exit code, if it has just ended.
    fn end(&mut self) -> anyhow::Result<Option<u8>> {
        let Some(pid) = self.process else {
            return Ok(None);
        };
        match process::reap(Some(pid))? {
            Some((_, Change::Ended(end))) => {
                self.process = None;
                Ok(Some(end.code()))
            }
            _ => Ok(None),
        }
    }

    /// Waits for its end, but no longer than `limit`.
    pub(crate) fn wait(mut self, limit: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.process.is_some() && start.elapsed() < limit {
            self.look_after()?;
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Leaves behind what belongs to the monitor, and ends with it.
fn leave_behind(parent: Pid, kept: &[RawFd]) -> anyhow::Result<()> {
    end_with(parent)?;
    // What a terminal sends is for the container; SIGKILL is enough for us.
    sys::setsid()?;
    sigprocmask(SigmaskHow::SIG_BLOCK, &SigSet::all())?;
    process::lead_to_null(STDIN_FILENO..=STDERR_FILENO)?;
    // Nor the caller's directory, which could not be unmounted.
    sys::chdir("/")?;
    close_own_descriptors(kept)
}

impl Drop for Helper {
    fn drop(&mut self) {
        // The container's process has a copy of this value.
        if let Some(pid) = self.process.filter(|_| getpid() == self.parent) {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = process::wait(pid);
        }
    }
}
