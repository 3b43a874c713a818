//! Step 2: process numbers of its own, and an init.
//!
//! The first process that is created with `CLONE_NEWPID` is number 1 of a new
//! PID namespace. To those inside, nothing else exists that they could signal;
//! from outside, the same processes have other numbers as well.
//!
//! Number 1 is special. Orphans become its children, so it has to reap them, or
//! the process table fills with zombies. The kernel discards signals for which
//! it has no handler, so it has to pass on what is meant for the command. And
//! when it ends, the kernel kills every process that is left. A shell or a server
//! is not made for that, so an init of our own does it. See pid_namespaces(7).

use std::convert::Infallible;

use common::{
    Workload,
    process::{
        self, Change, News,
        signals::{self, Event},
    },
};

/// Is the init: starts the command as its child, reaps orphans, passes on
/// signals, and exits with the command's exit code.
///
/// Must run in a process created with `CLONE_NEWPID`; elsewhere it would get
/// no orphans. Ends with the container, so it returns only if it fails.
pub fn init(workload: &Workload) -> anyhow::Result<Infallible> {
    let early = signals::so_far()?;
    let command = workload.spawn()?;
    for signal in early {
        process::pass_on(signal, command)?;
    }
    loop {
        match signals::next()? {
            Event::Forward(signal) => process::pass_on(signal, command)?,
            Event::ForwardToGroup(signal) => {
                process::pass_on_to_group(signal, command)?;
            }
            // One SIGCHLD can stand for several children.
            Event::ChildChanged => {
                while let Some((child, change)) = process::reap(None)? {
                    match change {
                        Change::Ended(end) if child == command => {
                            process::exit_as(end)
                        }
                        Change::Stopped if child == command => {
                            process::tell(News::Stopped)?
                        }
                        // An orphan: it is reaped, and that is all.
                        _ => {}
                    }
                }
            }
            Event::ChildSpoke => {}
        }
    }
}
