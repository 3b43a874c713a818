//! A command in another PID namespace than our own.

use std::{
    convert::Infallible,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use nix::{errno::Errno, unistd::Pid};

use super::{Workload, command};
use crate::{
    errors::{self, CannotRun},
    process, sys,
};

impl Workload {
    /// Starts the command as a child that ends with this process, where our
    /// children go to another PID namespace than our own: `/proc` there knows the
    /// child, and not us. The child does `first` before all else, and `last`
    /// when the command is found.
    ///
    /// Returns the exit code for it, if the child has failed and has said why.
    ///
    /// # Errors
    /// What the [launcher](Workload::started_by) says.
    pub fn spawn_elsewhere(
        &self,
        first: impl FnOnce() -> anyhow::Result<()>,
        last: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Result<Pid, u8>> {
        let (ours, theirs) = sys::pipe2()?;
        let ours_too = ours.as_raw_fd();
        let child = process::fork(|| {
            sys::close(ours_too)?;
            process::die_with_parent()?;
            // It may have died before that call.
            process::end_if_unheard(&theirs)?;
            let failed =
                first().and_then(|()| self.become_reporting_to(&theirs, last));
            // No errno: the rest is told by the error, and by the exit code.
            sys::write(&theirs, 0_i32.to_ne_bytes())?;
            failed
        })?;
        drop(theirs);
        // The end comes when the command's exec has closed the other side.
        match command::report(&ours)? {
            None => Ok(Ok(child)),
            Some(Errno::UnknownErrno) => Ok(Err(process::wait(child)?)),
            Some(errno) => {
                process::wait(child)?;
                let name = Path::new(&self.command[0]);
                let file = self.find().unwrap_or_else(|_| name.to_owned());
                Err(self.cannot_run(&file, errno))
            }
        }
    }

    /// The error for a command that was not even come to: there is no such user
    /// or directory. The place is there, so this is not the tool's failure but
    /// the command's, and has its exit codes, as with Docker.
    fn cannot_begin(&self, error: anyhow::Error) -> anyhow::Error {
        if error.downcast_ref::<CannotRun>().is_some() {
            return error;
        }
        let code = match errors::errno(&error) {
            Some(Errno::ENOENT | Errno::ENOTDIR) => 127,
            _ => 126,
        };
        // A function has no name.
        let command = self.command.first().cloned().unwrap_or_default();
        error.context(CannotRun { command, code })
    }

    fn become_reporting_to(
        &self,
        report: &OwnedFd,
        last: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Infallible> {
        // What fails there is the tool's, but for the working directory.
        let kept = [report.as_raw_fd()];
        let nowhere = Workload {
            workdir: None,
            ..self.clone()
        };
        nowhere.leave_the_host(&kept)?;
        self.leave_the_host(&kept)
            .map_err(|error| self.cannot_begin(error))?;
        if let Some(function) = &self.function {
            last()?;
            return self.call(function);
        }
        let command =
            self.prepare().map_err(|error| self.cannot_begin(error))?;
        last()?;
        let first: &[&str] = match self.launcher {
            Some(_) => &[command::Command::LAUNCH],
            None => &[],
        };
        command.announce(first);
        let errno = match &self.launcher {
            None => command.exec(),
            Some(launcher) => command.exec_by(launcher, report)?,
        };
        Err(self.cannot_run(&command.file, errno))
    }
}
