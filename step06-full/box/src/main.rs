//! The container of step 6, of an image.

use std::process::ExitCode;

use common::{NewProcess, Program, Workload};
use nix::sched::CloneFlags;
use step06_full::{
    cgroup_files, devices, inheritance, kernel_files, landlock, names,
    namespaces, network, privileges, seccomp, stub, user, volumes,
};

mod images;
mod output;
mod start;
mod store;

fn main() -> ExitCode {
    let program = Program::new(run).options(store::choose);
    let program = program.subcommand("pull", images::pull);
    let program = program.subcommand("images", images::list);
    let program = program.subcommand("layers", images::layers);
    let program = program.subcommand("rmi", images::remove);
    let program = program.subcommand("prune", images::prune);
    program.main()
}

/// Run a command in a container of an image
#[derive(clap::Args)]
struct Args {
    #[command(flatten)]
    start: start::StartOptions,
    /// Host name inside the container
    #[arg(short = 'h', long, default_value = "box")]
    #[arg(value_parser = step01_uts::parse_hostname)]
    hostname: String,
    #[command(flatten)]
    limits: step04_cgroups::Limits,
    #[command(flatten)]
    volumes: volumes::Volumes,
    #[command(flatten)]
    ids: user::Options,
}

/// The parent: prepares the container outside, starts it and waits for its end.
fn run(args: &Args, workload: &Workload) -> anyhow::Result<ExitCode> {
    let image = args.start.image()?;
    let workload = image.workload(workload)?;
    let root = image.root()?;
    let mut layers = image.layers().find(&root)?;
    let volumes = args.volumes.open()?;
    let ids = user::Ids::choose(&args.ids, &mut layers)?;
    let cgroup = step04_cgroups::Cgroup::create(&args.limits)?;
    let mut process = NewProcess::default();
    process.flags |= CloneFlags::CLONE_NEWUTS;
    process.flags |= CloneFlags::CLONE_NEWPID;
    process.flags |= CloneFlags::CLONE_NEWNS;
    process.flags |= CloneFlags::CLONE_NEWUSER;
    process.flags |= CloneFlags::CLONE_NEWNET;
    process.flags |= CloneFlags::CLONE_NEWIPC;
    process.cgroup = cgroup.born_in();

    // The child: runs in the new process, on a copy of what the parent has
    // prepared, and ends by becoming the command.
    let container = || {
        cgroup.join()?;
        ids.become_root()?;
        inheritance::clear()?;
        namespaces::hide_cgroup_path()?;
        network::loopback_up()?;
        step01_uts::set_hostname(&args.hostname)?;
        step03_mount::make_private()?;
        let sources = volumes::sources(&volumes)?;
        let root = step05_overlay::mount_root(&root, &layers)?;
        volumes::mount(&volumes, sources, &root)?;
        step03_mount::mount_proc(&root)?;
        kernel_files::mount_sys(&root)?;
        devices::mount_dev(&root, &devices::HARMLESS)?;
        kernel_files::protect(&root, &kernel_files::DOCKERS)?;
        cgroup_files::mount(&root, &cgroup)?;
        names::mount_files(&root, &args.hostname, args.volumes.read_only)?;
        args.volumes.protect_root(&root)?;
        step03_mount::enter_root(&root)?;
        privileges::reduce_to(&privileges::KEPT)?;
        landlock::confine()?;
        seccomp::install(&seccomp::filter())?;
        let workload = workload.with_fresh_environment(&args.hostname);
        step02_pid::init(&workload.started_by(stub::make()?))
    };
    let child = process.spawn(container)?;
    // The child waits at its gate. Later steps prepare more for it here, which
    // only the parent can do and only when the child exists.
    ids.map(child.pid(), &layers, &volumes)?;
    inheritance::reset_oom_score(child.pid())?;
    child.start()?;
    child.wait()
}
