//! Step 6: a container, in full.

use std::{path::PathBuf, process::ExitCode};

use common::{NewProcess, Program, Workload, rootfs};
use nix::sched::CloneFlags;
use step06_full::{
    cgroup_files, devices, doctor, inheritance, kernel_files, landlock, names,
    namespaces, network, privileges, seccomp, stub, user, volumes,
};

fn main() -> ExitCode {
    let program = Program::new(run);
    let program = program.subcommand("diff", step05_overlay::diff);
    let program = program.subcommand("doctor", doctor::main);
    program.main()
}

/// Run a command in a container: step 6, in full
#[derive(clap::Args)]
struct Args {
    /// Host name inside the container
    #[arg(short = 'h', long, default_value = "box")]
    #[arg(value_parser = step01_uts::parse_hostname)]
    hostname: String,
    /// Root file system [default: one made of this machine's own tools]
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    #[command(flatten)]
    limits: step04_cgroups::Limits,
    #[command(flatten)]
    layers: step05_overlay::Layers,
    #[command(flatten)]
    volumes: volumes::Volumes,
    #[command(flatten)]
    ids: user::Options,
}

/// The parent: prepares the container outside, starts it and waits for its end.
fn run(args: &Args, workload: &Workload) -> anyhow::Result<ExitCode> {
    let root = rootfs::find(&args.rootfs)?;
    let mut layers = args.layers.find(&root)?;
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
        let workload = workload.with_fresh_environment(&args.hostname);
        let workload = workload.started_by(stub::make()?);
        seccomp::install(&seccomp::filter())?;
        step02_pid::init(&workload)
    };
    let child = process.spawn(container)?;
    // The child waits at its gate. Later steps prepare more for it here, which
    // only the parent can do and only when the child exists.
    ids.map(child.pid(), &layers, &volumes)?;
    inheritance::reset_oom_score(child.pid())?;
    child.start()?;
    child.wait()
}
