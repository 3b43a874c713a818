//! `create`: makes a container, whose process then waits to be started.

use std::{fs, os::unix::net::UnixListener};

use anyhow::{Context, bail, ensure};
use common::{
    NewProcess, errors,
    host::files::by_number,
    process::{EndsWith, Stat, sibling, signals},
};
use nix::{
    errno::Errno,
    unistd::{Pid, geteuid},
};

use crate::{
    attributes, between,
    cgroup::Cgroup,
    check,
    command::Command,
    config::Linux,
    container::Container,
    delete, filter, hooks, interfaces, log,
    mounts::{self, Prepared},
    namespaces::Namespaces,
    options::Create,
    runtime::Runtime,
    state::{Directory, State, Status},
    sysctl, talk, terminal, user_ids,
};

/// Makes the container and returns what is known of it. If that fails, nothing
/// of it is left; but an interface of `linux.netDevices` that was moved already
/// is not the host's any more, and goes with the network namespace.
pub(crate) fn create(
    runtime: &Runtime,
    options: &Create,
) -> anyhow::Result<State> {
    let bundle = fs::canonicalize(&options.bundle)
        .with_context(|| format!("the bundle {:?}", options.bundle))?;
    let config = check::config(&bundle)?;
    let path = config.root.as_ref().map_or("", |root| &root.path);
    let rootfs = fs::canonicalize(bundle.join(path))
        .with_context(|| format!("root.path {path:?}"))?;
    ensure!(rootfs.is_dir(), "root.path {path:?} is no directory");
    let terminal = config.process().terminal;
    let has_socket = options.console_socket.is_some();
    ensure!(
        !terminal || has_socket,
        "process.terminal needs --console-socket"
    );
    ensure!(
        terminal || !has_socket,
        "--console-socket needs process.terminal"
    );
    let directory = Directory::create(&runtime.root, &options.id)?;
    let mut state = State {
        id: options.id.clone(),
        bundle,
        rootfs,
        created: log::now(),
        systemd: runtime.systemd,
        config,
        ..State::default()
    };
    match make(&directory, options, &mut state) {
        Ok(()) => Ok(state),
        Err(error) => {
            if let Err(more) = delete::remove(directory, &state) {
                log::warning(&more.context("taking back what was made"));
            }
            Err(error)
        }
    }
}

fn make(
    directory: &Directory,
    options: &Create,
    state: &mut State,
) -> anyhow::Result<()> {
    directory.save(state)?;
    let config = state.config.clone();
    let (linux, mut process) = (&config.linux, config.process());
    if let listened @ 1.. = listened() {
        process.env.push(format!("LISTEN_FDS={listened}"));
        process.env.push("LISTEN_PID=1".into());
    }
    let profile = linux.seccomp.as_ref();
    let filter = profile.map(filter::compile).transpose()?;
    let preserved = preserved(options);
    let command = Command::new(&process, filter, preserved)?;
    let mounts = mounts::prepare(&config.mounts, &state.bundle, linux)?;
    let namespaces = Namespaces::open(linux)?;
    let console = options.console_socket.as_deref();
    let console = console.map(terminal::connect).transpose()?;
    let mut cgroup = Cgroup::create(
        linux.cgroups_path.as_deref(),
        &state.id,
        state.systemd,
        &linux.resources,
        |place| {
            let cgroup = Some(place.clone());
            let state = State {
                cgroup,
                ..state.clone()
            };
            directory.save(&state)
        },
    )?;
    state.cgroup = Some(cgroup.place().clone());
    directory.save(state)?;
    let container = Container {
        config: &config,
        state: &state.clone(),
        root: state.rootfs.clone(),
        namespaces,
        cgroup: &cgroup,
        command,
        persona: attributes::persona(linux)?,
        ours: sysctl::Ours::open()?,
        gate: gate(directory)?.into(),
        console,
        keeps_keyring: options.no_new_keyring,
        no_pivot: options.no_pivot,
    };
    let (ours, theirs) = talk::pair()?;
    let pid = spawn(&container, mounts, &ours, theirs);
    let pid = pid.map_err(|error| {
        let error = cgroup.place().explain(error);
        match lacks_rights(&error, linux) {
            Some(why) => error.context(why),
            None => error,
        }
    })?;
    state.pid = pid.as_raw();
    let stat = Stat::read(&pid.to_string());
    state.start_time = stat.context("the process is gone")?.start_time;
    directory.save(state)?;

    attributes::set_oom_score(&pid.to_string(), process.oom_score_adj)?;
    if linux.makes_namespace("user") {
        user_ids::map(pid, linux)?;
    }
    interfaces::move_all(linux, pid)?;
    cgroup.delegate(&config)?;
    ours.go_on()?;
    let talk::Said::Mounted = ours.hear()? else {
        bail!("the process says what it should not");
    };
    cgroup.is_taken();
    let creating = Status::Creating;
    let list = &config.hooks;
    hooks::run(&list.before_start, "prestart", state, creating)?;
    hooks::run(&list.create_runtime, "createRuntime", state, creating)?;
    ours.go_on()?;
    let talk::Said::Ready = ours.hear()? else {
        bail!("the process says what it should not");
    };
    state.is_made = true;
    directory.save(state)?;
    // Creating a process has blocked the signals of this one.
    signals::give_in()?;
    // The last thing: whoever waits for it goes on at once.
    attributes::write_pid_file(options.pid_file.as_deref(), pid)
}

/// Why root's rights are missing.
fn lacks_rights(error: &anyhow::Error, linux: &Linux) -> Option<&'static str> {
    let is_refused = errors::errno(error) == Some(Errno::EPERM);
    let lacks = !geteuid().is_root() && !linux.has_namespace("user");
    (is_refused && lacks).then_some(
        "a plain user's container needs a namespace user in linux.namespaces",
    )
}

/// How many descriptors, from 3 on, the process gets.
pub(crate) fn preserved(options: &Create) -> u32 {
    listened().saturating_add(options.preserve_fds)
}

/// How many of them are sockets at which somebody else listens for it. See
/// sd_listen_fds(3).
fn listened() -> u32 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    match number("LISTEN_PID") == Some(std::process::id()) {
        true => number("LISTEN_FDS").unwrap_or(0),
        false => 0,
    }
}

/// Creates the process, a child of this one.
fn spawn(
    container: &Container,
    mounts: Vec<Prepared>,
    ours: &talk::Runtime,
    theirs: talk::New,
) -> anyhow::Result<Pid> {
    let namespaces = &container.namespaces;
    let born_in = container.cgroup.born_in();
    if !namespaces.has_joined() {
        let process = NewProcess {
            flags: namespaces.born_with(),
            cgroup: born_in,
            ends_with: EndsWith::Nobody,
            ..NewProcess::default()
        };
        // Its end of the talk is moved into it: a copy of it that stayed here
        // would hide that the process is gone.
        let run = move || container.run(&theirs, mounts);
        let child = process.spawn(run)?;
        child.start()?;
        let pid = child.pid();
        child.hand_over()?;
        return Ok(pid);
    }
    // Two processes in the cgroup may be one too many, so only if need be.
    let (now, later) = match namespaces.shut_out() {
        true => (born_in, None),
        false => (None, born_in),
    };
    let between = NewProcess {
        cgroup: now,
        ..between::new()
    };
    between::spawn(&between, ours, theirs, |theirs| {
        namespaces.enter()?;
        let run = || container.run(theirs, mounts);
        sibling(namespaces.born_with(), later, run)
    })
}

/// The socket at which the process waits, bound by a path that is short enough.
fn gate(directory: &Directory) -> anyhow::Result<UnixListener> {
    let open = common::host::paths::open_directory(&directory.path)?;
    let gate = by_number(&open).join("start.sock");
    UnixListener::bind(&gate).context("making the gate of the container")
}
