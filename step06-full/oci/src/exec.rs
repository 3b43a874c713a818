//! `exec`: one more process in a container.

use std::{
    convert::Infallible, os::fd::AsRawFd, os::unix::net::UnixStream,
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use common::{
    NewProcess,
    process::{close_own_descriptors, sibling},
    sys,
};
use nix::{sched::CloneFlags, sys::personality::Persona, unistd::Pid};
use step06_full::inheritance;

use crate::{
    attributes::{persona, set_oom_score, write_pid_file},
    between,
    cgroup::Cgroup,
    check,
    command::Command,
    config::{Linux, Process},
    filter,
    namespaces::Namespaces,
    options::Exec,
    places,
    runtime::Runtime,
    shared_mounts, start,
    state::{Directory, State, Status},
    talk, terminal, user_ids,
};

/// Runs a process in the container. Returns its exit code, or at once if it is
/// detached.
pub(crate) fn exec(
    runtime: &Runtime,
    options: &Exec,
) -> anyhow::Result<ExitCode> {
    let directory = Directory::find(&runtime.root, &options.id)?;
    let state = directory.load()?;
    match directory.status(&state) {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {}
        Status::Stopped => bail!("container not running"),
        status => bail!("cannot exec in a container that is {}", status.name()),
    }
    let process = process(&state, options)?;
    let has_socket = options.console_socket.is_some();
    ensure!(
        !process.terminal || has_socket,
        "a terminal needs --console-socket"
    );
    ensure!(
        process.terminal || !has_socket,
        "--console-socket needs a terminal"
    );
    let pid = enter(&directory, &state, options, &process)?;
    write_pid_file(options.pid_file.as_deref(), pid)?;
    if options.detach {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(start::wait(pid)?.into())
}

/// What is to run: that of the file, or the container's own with another
/// command.
fn process(state: &State, options: &Exec) -> anyhow::Result<Process> {
    if let Some(path) = &options.process {
        let mut process = check::process(path)?;
        process.terminal |= options.tty;
        return Ok(process);
    }
    let mut process = state.config.process();
    ensure!(!options.args.is_empty(), "there is no command to run");
    process.args.clone_from(&options.args);
    process.terminal = options.tty;
    process.no_new_privileges |= options.no_new_privs;
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    process.env.extend_from_slice(&options.env);
    let user = &mut process.user;
    if let Some(text) = &options.user {
        let (uid, gid) = text.split_once(':').unwrap_or((text, ""));
        user.uid = uid.parse().context("--user UID[:GID]")?;
        if !gid.is_empty() {
            user.gid = gid.parse().context("--user UID[:GID]")?;
        }
    }
    user.additional_gids
        .extend_from_slice(&options.additional_gids);
    if !options.cap.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        for set in
            [&mut sets.bounding, &mut sets.effective, &mut sets.permitted]
        {
            set.extend_from_slice(&options.cap);
        }
    }
    process.check()?;
    Ok(process)
}

/// Creates the process, as a child of ours; returns when it has executed.
fn enter(
    directory: &Directory,
    state: &State,
    options: &Exec,
    process: &Process,
) -> anyhow::Result<Pid> {
    let profile = state.config.linux.seccomp.as_ref();
    let filter = profile.map(filter::compile).transpose()?;
    let command = Command::new(process, filter, options.preserve_fds)?;
    let first = state.process()?;
    let pid = Pid::from_raw(state.pid);
    let own = state.config.linux.makes_namespace("mount");
    let root = (!own).then(|| shared_mounts::root_of(pid)).transpose()?;
    let namespaces = match Namespaces::of(&first, pid) {
        // It has ended just now.
        Err(_) if !state.is_alive() => bail!("container not running"),
        // It is closed to all but root as long as it is ours.
        Err(error) if directory.status(state) == Status::Created => {
            bail!(error.context("entering a container that was not started"))
        }
        namespaces => namespaces?,
    };
    let console = options.console_socket.as_deref();
    let console = console.map(terminal::connect).transpose()?;
    let cgroup = state.cgroup()?.for_exec(&options.cgroup, pid)?;
    let (ours, theirs) = talk::pair()?;
    // Children have it, too, and we do nothing else.
    process.affinity.begin()?;
    let new = NewProcess {
        // Now, and not when it has entered the container's cgroup namespace,
        // in which we are not: then version 2 refuses it (ENOENT). See
        // cgroups(7), "nsdelegate".
        cgroup: cgroup.born_in(),
        ..between::new()
    };
    let inside = Inside {
        command: &command,
        namespaces: &namespaces,
        console: console.as_ref(),
        cgroup: &cgroup,
        linux: &state.config.linux,
        persona: persona(&state.config.linux)?,
    };
    let pid = between::spawn(&new, &ours, theirs, |theirs| {
        // Its children have it, too.
        set_oom_score("self", process.oom_score_adj)?;
        inside.cgroup.enter()?;
        inside.namespaces.enter()?;
        if let Some(root) = &root {
            shared_mounts::make_root(root)?;
        }
        sibling(CloneFlags::empty(), None, || inside.run(theirs))
    });
    let pid = pid.map_err(|error| cgroup.place().explain(error))?;
    ours.hear_executed()?;
    Ok(pid)
}

/// What the process needs that runs in the container.
struct Inside<'a> {
    command: &'a Command<'a>,
    namespaces: &'a Namespaces,
    console: Option<&'a UnixStream>,
    cgroup: &'a Cgroup,
    linux: &'a Linux,
    persona: Option<Persona>,
}

impl Inside<'_> {
    fn run(&self, talk: &talk::New) -> anyhow::Result<Infallible> {
        let Err(error) = self.become_command(talk);
        talk.fail(&error)
    }

    fn become_command(&self, talk: &talk::New) -> anyhow::Result<Infallible> {
        talk.is_mine()?;
        self.command.process.affinity.go_on()?;
        places::set_memory_policy(self.linux)?;
        // It was made by one that leads a session; so must this one.
        sys::setsid()?;
        if self.namespaces.other_user() {
            user_ids::become_root()?;
        }
        inheritance::refuse_directories()?;
        inheritance::close_descriptors_at_exec()?;
        inheritance::reset_signals()?;
        sys::personality(self.persona.unwrap_or(Persona::empty()))?;
        inheritance::join_new_session_keyring()?;
        inheritance::hide_command_line();
        if let Some(socket) = self.console {
            terminal::make(socket, self.command.process, false)?;
        }
        let mut kept = self.command.kept();
        kept.push(talk.number());
        kept.extend(self.console.map(AsRawFd::as_raw_fd));
        // Without a /proc in the container they are closed by the exec.
        let _ = close_own_descriptors(&kept);
        let ready = self.command.prepare()?;
        self.command.exec(&ready, talk.end())
    }
}
