//! A process that is known by its number and by when it was started.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use common::{process::Stat, sys};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    unistd::Pid,
};

use crate::{boot, record::Process};

impl Process {
    /// The process that has this number now.
    pub(crate) fn of(pid: Pid) -> anyhow::Result<Process> {
        let stat = Stat::read(&pid.to_string());
        let stat =
            stat.with_context(|| format!("/proc does not show {pid}"))?;
        Ok(Process {
            pid: pid.as_raw(),
            start_time: stat.start_time,
            boot: boot::id(),
        })
    }

    /// A descriptor that means it for ever; `None` if it has ended.
    pub(crate) fn open(&self) -> anyhow::Result<Option<OwnedFd>> {
        if boot::is_over(&self.boot) {
            return Ok(None);
        }
        Ok(Stat::open(Pid::from_raw(self.pid), self.start_time)?)
    }

    /// Whether it has ended.
    pub(crate) fn is_gone(&self) -> bool {
        // In another run of the machine, another process may well have both
        // numbers: much is started at the same moment each time.
        boot::is_over(&self.boot)
            || Stat::is_gone(Pid::from_raw(self.pid), self.start_time)
    }

    /// Waits for its end. See pidfd_open(2): its descriptor is readable then.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        let Some(process) = self.open()? else {
            return Ok(());
        };
        let ready = PollFd::new(process.as_fd(), PollFlags::POLLIN);
        sys::poll(&mut [ready], PollTimeout::NONE)?;
        Ok(())
    }
}
