//! Who has entered, so that its child could, and waits outside for it.

use std::convert::Infallible;

use common::{
    process::{
        self, Change, News,
        signals::{self, Event},
    },
    sys,
};
use nix::{
    libc,
    sys::signal::Signal,
    unistd::{Pid, getppid},
};

/// Stands outside for `command`, our child inside: passes on signals to it, and
/// ends as it has ended.
///
/// The container's own number 1 does the same for its command; it is not the
/// parent of this one, and whoever waits for us can't be: it has other things
/// to do, or is stopped by Ctrl-Z.
///
/// If `caller`, our parent, ends, so does the command; and we wait for it: as
/// long as nobody has, number 1 of the container can't end.
pub fn stand_for(
    command: Pid,
    caller: Option<Pid>,
) -> anyhow::Result<Infallible> {
    if caller.is_some() {
        // Also if somebody has stopped us.
        sys::prctl_set_pdeathsig(Signal::SIGCONT)?;
    }
    loop {
        if caller.is_some_and(|it| it != getppid()) {
            process::pass_on(libc::SIGKILL, command)?;
            process::exit(process::wait(command)?);
        }
        match signals::next()? {
            // In a session of its own nobody could continue it, so that the
            // kernel would not stop it either. See setpgid(2), on orphaned
            // process groups.
            Event::Forward(libc::SIGTSTP)
            | Event::ForwardToGroup(libc::SIGTSTP) => {
                process::pass_on_to_group(libc::SIGSTOP, command)?;
            }
            Event::Forward(libc::SIGCONT) => {
                process::pass_on_to_group(libc::SIGCONT, command)?;
            }
            Event::Forward(signal) => process::pass_on(signal, command)?,
            Event::ForwardToGroup(signal) => {
                process::pass_on_to_group(signal, command)?;
            }
            Event::ChildChanged => match process::reap(Some(command))? {
                Some((_, Change::Ended(end))) => process::exit_as(end),
                Some((_, Change::Stopped)) => process::tell(News::Stopped)?,
                None => {}
            },
            Event::ChildSpoke => {}
        }
    }
}
