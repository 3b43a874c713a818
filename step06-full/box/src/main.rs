//! The container of step 6, of an image.

use std::process::ExitCode;

use common::{NewProcess, Program, Workload};
use nix::sched::CloneFlags;
use step06_full::{
    cgroup_files, devices, inheritance, kernel_files, landlock, names,
    namespaces, privileges, seccomp, stub, user, volumes,
};
use step06_life::Role;
use step06_network::publish;

mod containers;
mod documents;
mod exec;
mod format;
mod images;
mod network;
mod output;
mod start;
mod store;
mod template;

fn main() -> ExitCode {
    let program = Program::new(run).options(store::choose);
    let program = program.subcommand("pull", images::pull);
    let program = program.subcommand("images", images::list);
    let program = program.subcommand("layers", images::layers);
    let program = program.subcommand("rmi", images::remove);
    let program = program.subcommand("prune", images::prune);
    let program = program.subcommand("ps", containers::list);
    let program = program.subcommand("port", containers::port);
    let program = program.subcommand("logs", containers::logs);
    let program = program.subcommand("stop", containers::stop);
    let program = program.subcommand("kill", containers::kill);
    let program = program.subcommand("wait", containers::wait);
    let program = program.subcommand("start", containers::start);
    let program = program.subcommand("restart", containers::restart);
    let program = program.subcommand("exec", exec::exec);
    let program = program.subcommand("attach", exec::attach);
    let program = program.subcommand("rm", containers::remove);
    let program = program.subcommand("inspect", containers::inspect);
    let program = program.subcommand("stats", containers::stats);
    let program = program.subcommand("pause", containers::pause);
    let program = program.subcommand("unpause", containers::unpause);
    let program = program.subcommand("cp", containers::copy);
    let program =
        program.subcommand_about("completions", documents::completions);
    let program = program.subcommand_about("manual", documents::manual);
    let program = program.subcommand("network", network::show);
    let program = program.subcommand("commit", containers::commit);
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
    #[command(flatten)]
    life: step06_life::LifeOptions,
    #[command(flatten)]
    networks: step06_network::Networks,
    #[command(flatten)]
    ports: publish::Ports,
}

/// The parent: prepares the container outside, starts it and waits for its end.
fn run(args: &Args, workload: &Workload) -> anyhow::Result<ExitCode> {
    let image = args.start.image()?;
    let workload = image.workload(workload)?;
    let root = image.root()?;
    let subject = image.subject(&args.hostname, &workload);
    let mut monitor = match args.life.begin(&store::place()?, subject)? {
        Role::Monitor(monitor) => monitor,
        Role::Visitor(it) => return containers::visit(args, &image, &it),
        Role::Caller(code) => return Ok(code),
    };
    let mut layers = image.layers(monitor.upper()).find(&root)?;
    let volumes = args.volumes.open()?;
    let ids = user::Ids::choose(&args.ids, &mut layers)?;
    let cgroup = step04_cgroups::Cgroup::create(&args.limits)?;
    let mut network = args.networks.prepare(&args.hostname, monitor.name())?;
    let mut process = NewProcess::default();
    process.flags |= CloneFlags::CLONE_NEWUTS;
    process.flags |= CloneFlags::CLONE_NEWPID;
    process.flags |= CloneFlags::CLONE_NEWNS;
    process.flags |= CloneFlags::CLONE_NEWUSER;
    process.flags |= network.namespace();
    process.flags |= CloneFlags::CLONE_NEWIPC;
    process.cgroup = cgroup.born_in();

    // The child: runs in the new process, on a copy of what the parent has
    // prepared, and ends by becoming the command.
    let container = || {
        cgroup.join()?;
        ids.become_root()?;
        inheritance::clear()?;
        namespaces::hide_cgroup_path()?;
        network.set_up()?;
        step01_uts::set_hostname(&args.hostname)?;
        step03_mount::make_private()?;
        let sources = volumes::sources(&volumes)?;
        let root = step05_overlay::mount_root(&root, &layers)?;
        volumes::mount(&volumes, sources, &root)?;
        step03_mount::mount_proc(&root)?;
        network.with_namespace(|| kernel_files::mount_sys(&root))?;
        devices::mount_dev(&root, &devices::HARMLESS)?;
        kernel_files::protect(&root, &kernel_files::DOCKERS)?;
        cgroup_files::mount(&root, &cgroup)?;
        network.mount_names(&root, args.volumes.read_only)?;
        names::mount_files(&root, &args.hostname, args.volumes.read_only)?;
        args.volumes.protect_root(&root)?;
        step03_mount::enter_root(&root)?;
        privileges::reduce_to(&network.kept())?;
        landlock::confine()?;
        let workload = workload.with_fresh_environment(&args.hostname);
        let workload = workload.started_by(stub::make()?);
        seccomp::install(&seccomp::filter())?;
        step02_pid::init(&monitor.take_streams(workload)?)
    };
    let child = process.spawn(container)?;
    // The child waits at its gate. Later steps prepare more for it here, which
    // only the parent can do and only when the child exists.
    ids.map(child.pid(), &layers, &volumes)?;
    inheritance::reset_oom_score(child.pid())?;
    network.connect(child.pid())?;
    let publisher = args.ports.publish(child.pid())?;
    output::say_ports(&publisher);
    monitor.started(&child, &cgroup, &network.kept(), publisher.texts())?;
    child.start()?;
    monitor.wait(child, || network.look_after())
}
