//! `step06-oci`: the container of step 6 as an OCI runtime.
//!
//! An engine such as podman or containerd fetches the image, makes a directory
//! of it (the *bundle*: a root file system, and `config.json`, which says how to
//! isolate it), and calls a program for the rest: `create`, `start`, `kill`,
//! `delete`. This is such a program. What step 6 does by lists of its own, it
//! does by those of the file, through the very same functions. See
//! <https://github.com/opencontainers/runtime-spec>.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::{CommandFactory, Parser};
use nix::unistd::Pid;

use options::{CgroupManager, Options, Run, Verb};
use runtime::Runtime;

mod attributes;
mod between;
mod capabilities;
mod cgroup;
mod check;
mod clocks;
mod command;
mod config;
mod container;
mod create;
mod delete;
mod devices;
mod exec;
mod features;
mod filter;
mod hooks;
mod interfaces;
mod kill;
mod label;
mod limits;
mod limits_of;
mod list;
mod log;
mod mounts;
mod namespaces;
mod options;
mod places;
mod program;
mod protect;
mod runtime;
mod scheduling;
mod shared_mounts;
mod spec;
mod start;
mod state;
mod sysctl;
mod systemd;
mod talk;
mod terminal;
mod user_ids;

fn main() -> ExitCode {
    let options = Options::parse();
    // Before a file is opened that could take the place of one of them.
    let handed_in = check_handed_in(options.verb.as_ref());
    let done = log::open(options.log.as_ref(), options.log_format)
        .and(handed_in)
        .and_then(|()| act(options));
    match done {
        Ok(code) => code,
        Err(error) => {
            log::failure(&error);
            ExitCode::FAILURE
        }
    }
}

/// Checks that the descriptors are there that the caller has announced.
fn check_handed_in(verb: Option<&Verb>) -> anyhow::Result<()> {
    command::check_preserved(match verb {
        Some(Verb::Create(options)) => create::preserved(options),
        Some(Verb::Run(options)) => create::preserved(&options.create),
        Some(Verb::Exec(options)) => options.preserve_fds,
        _ => 0,
    })
}

fn act(options: Options) -> anyhow::Result<ExitCode> {
    if options.version {
        let version = env!("CARGO_PKG_VERSION");
        let spec = config::VERSION;
        list::print(&format!("step06-oci version {version}\nspec: {spec}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(verb) = options.verb else {
        bail!("{}", Options::command().render_usage());
    };
    let root = match &verb {
        // They know of no containers.
        Verb::Features | Verb::Spec { .. } => PathBuf::new(),
        _ => options.root.map_or_else(state::default_root, Ok)?,
    };
    let manager = options.cgroup_manager;
    let runtime = Runtime {
        root,
        systemd: options.systemd_cgroup
            || manager == Some(CgroupManager::Systemd),
    };
    let done = match verb {
        Verb::Run(options) => return run(&runtime, &options),
        Verb::Exec(options) => return exec::exec(&runtime, &options),
        Verb::Create(options) => create::create(&runtime, &options).map(drop),
        Verb::Start { id } => start::start(&runtime, &id),
        Verb::State { id } => list::state(&runtime, &id),
        Verb::Kill { all, id, signal } => {
            kill::kill(&runtime, &id, &signal, all)
        }
        Verb::Delete { force, id } => delete::delete(&runtime, &id, force),
        Verb::List { format, quiet } => list::list(&runtime, format, quiet),
        Verb::Ps {
            format,
            id,
            options,
        } => list::ps(&runtime, &id, format, &options),
        Verb::Pause { id } => limits_of::pause(&runtime, &id),
        Verb::Resume { id } => limits_of::resume(&runtime, &id),
        Verb::Update(options) => limits_of::update(&runtime, &options),
        Verb::Events {
            stats,
            interval,
            id,
        } => limits_of::events(&runtime, &id, stats, interval),
        Verb::Features => list::print(&format!("{:#}", features::features())),
        Verb::Spec { bundle, rootless } => spec::write(&bundle, rootless),
        Verb::Checkpoint { .. } => {
            bail!("checkpoints are not supported")
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// `run`: makes a container, starts it, and unless it is detached, waits for its
/// end and removes what is left.
fn run(runtime: &Runtime, options: &Run) -> anyhow::Result<ExitCode> {
    let state = create::create(runtime, &options.create)?;
    let id = &options.create.id;
    let started = start::start(runtime, id);
    if started.is_err()
        && let Err(more) = delete::delete(runtime, id, true)
    {
        log::warning(&more.context("taking back what was made"));
    }
    started?;
    if options.detach {
        return Ok(ExitCode::SUCCESS);
    }
    let code = start::wait(Pid::from_raw(state.pid))?;
    if !options.keep {
        delete::delete(runtime, id, true)?;
    }
    Ok(code.into())
}
