//! Step 2: a container with process numbers of its own, and an init.

use std::process::ExitCode;

use common::{NewProcess, Program, Workload, rootless};
use nix::sched::CloneFlags;

fn main() -> ExitCode {
    let program = Program::new(run);
    program.main()
}

/// Run a command in a container: step 2, process numbers of its own
#[derive(clap::Args)]
struct Args {
    /// Host name inside the container
    #[arg(short = 'h', long, default_value = "box")]
    #[arg(value_parser = step01_uts::parse_hostname)]
    hostname: String,
}

/// The parent: prepares the container outside, starts it and waits for its end.
fn run(args: &Args, workload: &Workload) -> anyhow::Result<ExitCode> {
    rootless::become_root()?;
    let mut process = NewProcess::default();
    process.flags |= CloneFlags::CLONE_NEWUTS;
    process.flags |= CloneFlags::CLONE_NEWPID;

    // The child: runs in the new process, on a copy of what the parent has
    // prepared, and ends by becoming the command.
    let container = || {
        step01_uts::set_hostname(&args.hostname)?;
        step02_pid::init(workload)
    };
    let child = process.spawn(container)?;
    // The child waits at its gate. Later steps prepare more for it here, which
    // only the parent can do and only when the child exists.
    child.start()?;
    child.wait()
}
