//! From when on a container may be entered.
//!
//! Its namespaces are there long before it is one: until it has entered its
//! root, its mount namespace shows all that the host's does, and whoever enters
//! is on the host. So the container says when it is ready, by a pipe, and until
//! then nobody gets the namespaces. What is in the pipe stays there.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    time::Duration,
};

use anyhow::{Context, ensure};
use common::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout};

/// How long whoever comes early waits.
pub(crate) const A_WHILE: Duration = Duration::from_secs(10);

/// Both ends, until the container's process has a copy.
pub(crate) struct Threshold {
    hear: OwnedFd,
    tell: OwnedFd,
}

/// For whoever has to know.
pub(crate) struct Crossed(OwnedFd);

impl Threshold {
    pub(crate) fn new() -> sys::Result<Threshold> {
        let (hear, tell) = sys::pipe2()?;
        Ok(Threshold { hear, tell })
    }

    /// In the container's process, when nothing of the host is in reach.
    pub(crate) fn cross(&self) -> sys::Result<()> {
        sys::write(&self.tell, "ready")
    }

    /// In the monitor: from now on the container's process alone can tell.
    pub(crate) fn watch(self) -> Crossed {
        Crossed(self.hear)
    }
}

impl Crossed {
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It has ended before, or takes too long.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        let mut end = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(A_WHILE).context("poll(2)")?;
        sys::poll(&mut end, limit)?;
        let events = end[0].revents().unwrap_or(PollFlags::empty());
        let is_ready = events.contains(PollFlags::POLLIN);
        ensure!(is_ready, "the container has not begun");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_crossed_it_is_not_entered() {
        let threshold = Threshold::new().expect("a pipe");
        let crossed = threshold.watch();
        crossed.wait().expect_err("it has ended before");
        let threshold = Threshold::new().expect("a pipe");
        threshold.cross().expect("it is told");
        let crossed = threshold.watch();
        crossed.wait().expect("it is ready");
        crossed.wait().expect("and stays so");
    }
}
