//! Another command in a container that runs.
//!
//! Three processes: the caller, who stays outside with its terminal; a deputy,
//! who enters, and gives up on the way whatever it has of the host; and its
//! child, the command. The deputy is not in the container's PID namespace, so
//! that nobody inside sees it: what they see is the command, from when there is
//! nothing left that it could give away. See [`enter`].

use std::{
    convert::Infallible,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use common::{
    NewProcess, STARTED, Workload,
    process::{self, EndsWith},
    sys,
};
use nix::{
    fcntl::OFlag,
    libc::{STDERR_FILENO, STDIN_FILENO},
    sched::CloneFlags,
    unistd::{Pid, getpgrp, getpid, tcgetpgrp},
};
use step06_full::{
    enter::{self, Namespaces},
    inheritance, landlock, namespaces, privileges, seccomp, stub,
    terminal::{self, Terminal},
    user,
};

use crate::{Container, console::Console, streams::wait_for_start};

/// How a command is to be run in a container.
pub struct Exec {
    /// What runs: with the environment that it is to have.
    pub workload: Workload,
    /// In the background, and nobody hears of it.
    pub detached: bool,
    /// With a terminal of its own.
    pub terminal: bool,
    /// With the caller's standard input.
    pub interactive: bool,
}

/// The way in, all of it open.
struct Door {
    /// Who stays outside.
    caller: Pid,
    init: Pid,
    namespaces: Namespaces,
    entrances: Vec<OwnedFd>,
    /// The capabilities that stay.
    kept: Vec<u32>,
}

impl Container {
    /// Runs another command in it, and returns its exit code.
    ///
    /// The caller must have one thread.
    ///
    /// # Errors
    /// It is not running, or paused.
    pub fn exec(&self, exec: &Exec) -> anyhow::Result<ExitCode> {
        self.check_is_going()?;
        let name = &self.config.name;
        let door = self.door()?;
        let mut console = match exec.terminal {
            true => Some(Console::open(exec.interactive)?),
            false => None,
        };
        if console.is_none() && !exec.interactive {
            let null = sys::open("/dev/null", OFlag::O_RDONLY, 0)?;
            sys::dup2_standard(null, STDIN_FILENO)?;
        }
        user::give_streams_to_root_of(door.init)?;
        let (hear, told) = sys::pipe2()?;
        let deputy = NewProcess {
            cgroup: enter::born_in(&door.entrances)?,
            ends_with: match exec.detached {
                true => EndsWith::Nobody,
                false => EndsWith::Creator,
            },
            stands_for_another: true,
            ..NewProcess::default()
        };
        let child = deputy
            .spawn(|| door.pass(exec, console.as_ref(), &told))
            .with_context(|| format!("entering container {name}"))?;
        inheritance::reset_oom_score(child.pid())?;
        child.start()?;
        drop(told);
        if exec.detached && wait_for_start(hear)? {
            child.hand_over()?;
            return Ok(ExitCode::SUCCESS);
        }
        let code = child.wait_and(|| {
            console.iter_mut().try_for_each(Console::look_after)
        })?;
        // What was printed last is still on its way.
        drop(console);
        Ok(code)
    }

    fn door(&self) -> anyhow::Result<Door> {
        let state = self.state()?;
        let init = self.init()?;
        let pid = Pid::from_raw(state.init.pid);
        let theirs = self.namespaces()?;
        let mut files: Vec<OwnedFd> = theirs.into_files().into();
        // Root may look: then it is the same one. Others make one that begins
        // at the same place.
        let cgroup = format!("/proc/{pid}/ns/cgroup");
        files.extend(sys::open(cgroup, OFlag::O_RDONLY, 0).ok());
        let entrances = state.cgroups.iter().map(|it| entrance(it));
        let mut entrances: Vec<OwnedFd> =
            entrances.collect::<Result<_, _>>()?;
        entrances.extend(enter::other_entrances(pid, &state.cgroups));
        let door = Door {
            caller: getpid(),
            init: pid,
            namespaces: Namespaces::from_files(files)?,
            entrances,
            kept: state.capabilities,
        };
        // All of it was found by numbers and paths, which mean the container as
        // long as it lives.
        sys::pidfd_send_signal(&init, 0).with_context(|| {
            format!("container {} has ended", self.config.name)
        })?;
        Ok(door)
    }
}

/// Opens the way into a cgroup, while we may.
fn entrance(directory: &Path) -> anyhow::Result<OwnedFd> {
    // Version 2 has no such file.
    let tasks = directory.join("tasks");
    if tasks.exists() {
        return Ok(sys::open(tasks, OFlag::O_WRONLY, 0)?);
    }
    common::host::paths::open_directory(directory)
}

impl Door {
    /// The deputy: enters, by the functions and in the order of `run`.
    fn pass(
        &self,
        exec: &Exec,
        console: Option<&Console>,
        told: &OwnedFd,
    ) -> anyhow::Result<Infallible> {
        enter::join_cgroups(&self.entrances)?;
        enter::take_limits_of(self.init)?;
        self.namespaces.enter()?;
        // Root has the number 0 in each table.
        user::Ids::Same.become_root()?;
        inheritance::clear()?;
        if !self.namespaces.has(CloneFlags::CLONE_NEWCGROUP) {
            namespaces::hide_cgroup_path()?;
        }
        let stub = stub::make()?;
        self.close_the_hosts(console, &[told.as_raw_fd(), stub.as_raw_fd()])?;
        // From here on each path is the container's.
        self.namespaces.enter_mounts()?;
        if let Some(console) = console {
            let terminal = Terminal::open()?;
            terminal::use_for_streams(&terminal.inside)?;
            console.hand_over(terminal.master)?;
        }
        privileges::reduce_to(&self.kept)?;
        landlock::confine_newcomer()?;
        seccomp::install(&seccomp::filter())?;
        let workload = exec.workload.clone().started_by(stub);
        let started =
            workload.spawn_elsewhere(|| exec.begin_job(), || exec.silence())?;
        let command = match started {
            Ok(command) => command,
            Err(code) => process::exit(code),
        };
        exec.silence()?;
        sys::write(told, STARTED)?;
        let caller = (!exec.detached).then_some(self.caller);
        enter::stand_for(command, caller)
    }

    /// Closes what is the host's, while `/proc` still shows us what that is.
    fn close_the_hosts(
        &self,
        console: Option<&Console>,
        kept: &[RawFd],
    ) -> anyhow::Result<()> {
        let mut kept = kept.to_vec();
        kept.extend(self.namespaces.files().map(|it| it.as_raw_fd()));
        kept.extend(console.and_then(Console::socket));
        process::close_own_descriptors(&kept)
    }
}

impl Exec {
    /// Nobody is there to hear it: only until now, what went wrong.
    fn silence(&self) -> anyhow::Result<()> {
        if !self.detached {
            return Ok(());
        }
        Ok(process::lead_to_null(STDIN_FILENO..=STDERR_FILENO)?)
    }

    /// In the command's process: parts it from the deputy, who is outside and
    /// must not get what the command sends to its own group.
    fn begin_job(&self) -> anyhow::Result<()> {
        if self.terminal {
            terminal::give_to(self.workload.user_id()?)?;
            return terminal::lead_session();
        }
        let [stdin, ..] = sys::standard_streams();
        if tcgetpgrp(stdin) != Ok(getpgrp()) {
            sys::setsid()?;
            return Ok(());
        }
        // The caller's terminal: as a job of the caller's.
        sys::setpgid(getpid(), getpid())?;
        Ok(sys::tcsetpgrp(stdin, getpid())?)
    }
}
