//! The process between the runtime and a container's process, where namespaces
//! exist already.
//!
//! To enter them is its only purpose: the runtime stays where it is, and only
//! children are in a PID namespace. So it enters, makes the container's process
//! as a child of the runtime's, says its number and ends.

use anyhow::bail;
use common::{
    NewProcess,
    process::{self, EndsWith},
};
use nix::unistd::Pid;

use crate::talk;

/// A process that is to be in between, born in a cgroup of its own if need be.
pub(crate) fn new() -> NewProcess<'static> {
    NewProcess {
        ends_with: EndsWith::Nobody,
        ..NewProcess::default()
    }
}

/// Has `between` make the container's process by `make`, which returns its
/// number, and returns that.
///
/// `theirs` is moved: if a copy of it stayed open here, we would not hear the
/// end of who has the others.
pub(crate) fn spawn(
    between: &NewProcess,
    ours: &talk::Runtime,
    theirs: talk::New,
    make: impl FnOnce(&talk::New) -> anyhow::Result<Pid>,
) -> anyhow::Result<Pid> {
    let between = between.spawn(move || match make(&theirs) {
        Ok(pid) => {
            theirs.say(&talk::Said::Process(pid))?;
            process::exit(0)
        }
        Err(error) => theirs.fail(&error),
    })?;
    between.start()?;
    let said = ours.hear();
    between.wait()?;
    match said? {
        talk::Said::Process(pid) => Ok(pid),
        _ => bail!("the process says what it should not"),
    }
}
