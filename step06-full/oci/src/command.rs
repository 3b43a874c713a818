//! What `create` and `exec` do last in the new process: its terminal, its user,
//! its rights, and the program that it becomes.
#![allow(unsafe_code)]

use std::{
    convert::Infallible,
    ffi::CString,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, ensure};
use common::{
    process::signals,
    sys::{self, standard_streams},
};
use nix::{
    fcntl::AtFlags,
    unistd::{Gid, Uid},
};
use step06_full::{seccomp, stub, user::is_pipe};

use crate::{
    capabilities::Sets, config::Process, filter::Filter, label, limits,
    program, scheduling, user_ids,
};

/// A process to be, prepared outside.
pub(crate) struct Command<'a> {
    pub(crate) process: &'a Process,
    sets: Sets,
    filter: Option<Filter>,
    /// How many descriptors from 3 on it gets.
    preserved: RawFd,
    /// The program that executes its own.
    stub: OwnedFd,
}

/// The same when all is done that needs the rights of the container's root.
pub(crate) struct Ready {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl<'a> Command<'a> {
    /// Outside, before anything is made.
    pub(crate) fn new(
        process: &'a Process,
        filter: Option<Filter>,
        preserved: u32,
    ) -> anyhow::Result<Command<'a>> {
        let sets = process.capabilities.as_ref().map(Sets::of).transpose()?;
        let preserved = RawFd::try_from(preserved)?;
        Ok(Command {
            process,
            sets: sets.unwrap_or_default(),
            filter,
            preserved,
            stub: stub::reporting_to(report(preserved))?,
        })
    }

    /// The descriptors that stay open until the exec.
    pub(crate) fn kept(&self) -> Vec<RawFd> {
        let mut kept: Vec<RawFd> = preserved(self.preserved).collect();
        kept.push(self.stub.as_raw_fd());
        kept
    }

    /// Becomes the user of the process and gives up what it may not do. In the
    /// container, as its root.
    pub(crate) fn prepare(&self) -> anyhow::Result<Ready> {
        let process = self.process;
        label::set(process)?;
        give_streams(process.user.uid, process.user.gid)?;
        limits::set(&process.rlimits)?;
        scheduling::set(process)?;
        self.sets.bound()?;
        user_ids::become_user(&process.user)?;
        sys::umask(process.user.umask.unwrap_or(0o022));
        self.sets.hold()?;
        // Who can trace this process is the host's root, and nobody inside.
        sys::prctl(sys::PR_SET_DUMPABLE, 0)?;
        enter(&process.cwd)?;
        let mut arguments = Vec::new();
        // Without a process there is nothing to be looked up, nor to be started.
        if !process.args.is_empty() {
            arguments.push(program::find(process)?);
        }
        for argument in &process.args {
            arguments.push(CString::new(argument.as_str())?);
        }
        let environment = program::environment(process)?;
        Ok(Ready {
            arguments,
            environment,
        })
    }

    /// Becomes the program. Whoever listens at the other end of `report` hears
    /// the end of it when that was executed, or else an errno.
    pub(crate) fn exec(
        &self,
        ready: &Ready,
        report: impl AsFd,
    ) -> anyhow::Result<Infallible> {
        let number = self.arrange(report)?;
        let no_new_privileges = self.process.no_new_privileges;
        if no_new_privileges {
            sys::prctl(sys::PR_SET_NO_NEW_PRIVS, 1)?;
        } else {
            // It takes a capability that the process need not have.
            self.filter()?;
        }
        self.sets.set()?;
        if no_new_privileges {
            self.filter()?;
        }
        signals::unblock()?;
        let (arguments, environment) = (&ready.arguments, &ready.environment);
        let flags = AtFlags::AT_EMPTY_PATH;
        // SAFETY: `arrange` has put it there, and nobody closes it.
        let stub = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        Ok(sys::execveat(stub, c"", arguments, environment, flags)?)
    }

    fn filter(&self) -> anyhow::Result<()> {
        match &self.filter {
            Some(filter) => {
                seccomp::install_with(filter.flags, &filter.instructions)
            }
            None => Ok(()),
        }
    }

    /// Puts the descriptors where the stub, and the program, expect them; returns
    /// the number of the stub's own file.
    fn arrange(&self, report: impl AsFd) -> anyhow::Result<RawFd> {
        let number = self::report(self.preserved);
        let stub = sys::fcntl_dupfd_cloexec(&self.stub, number + 1)?;
        let from = sys::fcntl_dupfd_cloexec(report, number + 1)?;
        // SAFETY: what has that number is ours, and is not used any more.
        unsafe { sys::dup2(&from, number) }?;
        for number in preserved(self.preserved) {
            // SAFETY: takes integers; it only lets the descriptor stay open.
            unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
        }
        // It is closed by the exec, and not before.
        Ok(std::os::fd::IntoRawFd::into_raw_fd(stub))
    }
}

/// Behind the descriptors that the process gets.
fn report(preserved: RawFd) -> RawFd {
    libc::STDERR_FILENO + 1 + preserved
}

fn preserved(number: RawFd) -> std::ops::Range<RawFd> {
    let first = libc::STDERR_FILENO + 1;
    first..first + number
}

/// Checks, before this program opens a file, that the caller has really handed
/// in so many descriptors: in a gap would be one of ours.
pub(crate) fn check_preserved(number: u32) -> anyhow::Result<()> {
    let limit = 1 << 16;
    ensure!(number < limit, "--preserve-fds: {number} are too many");
    for fd in preserved(number.cast_signed()) {
        // SAFETY: takes integers and changes nothing.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        ensure!(flags != -1, "--preserve-fds: descriptor {fd} is not open");
    }
    Ok(())
}

/// Makes the pipes among standard input, output and error those of the user: to
/// open `/dev/stdout` would be EACCES. Only pipes without a name, which nobody
/// else uses.
fn give_streams(uid: u32, gid: u32) -> anyhow::Result<()> {
    for stream in standard_streams() {
        if is_pipe(stream)? {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            // It may belong to somebody of whom this user namespace knows
            // nothing; then it stays so.
            let _ = sys::fchown(stream, Some(uid), Some(gid));
        }
    }
    Ok(())
}

/// Goes to the working directory, and sees that it lies in this root: there are
/// ways to name one outside, by a descriptor (CVE-2024-21626).
fn enter(cwd: &str) -> anyhow::Result<()> {
    let enter = || {
        sys::chdir(cwd)?;
        let place = sys::getcwd()?;
        ensure!(place.is_absolute(), "it is outside of the container");
        Ok(())
    };
    enter().with_context(|| format!("going to the working directory {cwd:?}"))
}
