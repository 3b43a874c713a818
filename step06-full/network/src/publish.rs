//! Published ports, without a network.
//!
//! A socket belongs to the network namespace that it was made in, and stays
//! there wherever its owner goes. So a process can stand on both sides: it
//! listens on the host, enters the container's namespace, and from then on all
//! that it connects to is in there. See network_namespaces(7).
//!
//! What it passes on comes from strangers on one side and from the container on
//! the other. Therefore it has nothing that could be taken from it: no file, no
//! capability, no system call but those on sockets.

use std::{
    convert::Infallible,
    fs::{self, File},
    io::Write,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::fs::MetadataExt,
    },
};

use anyhow::{Context, anyhow, bail};
use common::{
    errors::{Advice, FAILED, one_line, warning},
    process::{self, Change, pass_on, reap},
    sys,
};
use nix::unistd::{Pid, getpid};

mod confine;
mod datagrams;
mod inside;
mod listen;
mod owner;
mod packet;
mod port;
mod relay;
mod slots;
mod stream;

pub use listen::Open;
use listen::PAGE;
pub(crate) use owner::ports_of;
pub use port::{Port, Protocol, Spec};
use relay::Relay;

/// The part of the command line about ports.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct Ports {
    /// Let a port of this machine lead to one of the container (repeatable;
    /// reached from this machine only, unless an address such as 0.0.0.0 stands
    /// before it; without HOST one is chosen)
    #[arg(short, long, value_name = "[[ADDRESS:]HOST:]CONTAINER[/udp]")]
    pub publish: Vec<Spec>,
}

/// The process that publishes a container's ports. It ends when this is dropped,
/// and when this process does, however that ends.
#[derive(Default)]
pub struct Publisher {
    /// Our number, and that of the process.
    process: Option<(Pid, Pid)>,
    /// What is open, in the order of the command line.
    pub ports: Vec<Published>,
}

/// A port that is published.
pub struct Published {
    /// As `docker ps` prints it: `127.0.0.1:8080->80/tcp`.
    pub text: String,
    /// Nobody has said which one it was to be.
    pub is_chosen: bool,
}

impl Ports {
    /// Publishes the ports of the container of which `container` is the first
    /// process.
    ///
    /// Runs in the parent, before the gate opens: afterwards a plain user may not
    /// open the namespaces of that process any more. The caller must have one
    /// thread.
    ///
    /// # Errors
    /// A port can't be had: somebody else has it, for example.
    pub fn publish(&self, container: Pid) -> anyhow::Result<Publisher> {
        let ports = self.publish.iter().flat_map(|it| it.0.iter().cloned());
        let ports: Vec<Port> = ports.collect();
        if ports.is_empty() {
            return Ok(Publisher::default());
        }
        refuse_our_own_network(container)?;
        let doors = listen::open(&ports)?;
        let ports = doors.iter().map(|it| Published {
            text: it.to_string(),
            is_chosen: it.port.is_chosen(),
        });
        let ports = ports.collect();
        let (ours, theirs) = sys::pipe2()?;
        let us = getpid();
        // What the closure has is closed here when the child has been made.
        let child = process::fork(|| serve(doors, container, theirs, us))?;
        let publisher = Publisher {
            process: Some((us, child)),
            ports,
        };
        let mut answer = Vec::new();
        sys::read_to_end(File::from(ours), &mut answer)?;
        match String::from_utf8_lossy(&answer).as_ref() {
            READY => Ok(publisher),
            "" => bail!("the process that publishes ports has ended"),
            error => Err(anyhow!("{error}").context("publishing ports")),
        }
    }
}

/// A container that shares a network, the host's or another container's, is born
/// in that of its parent: there are no two sides then.
fn refuse_our_own_network(container: Pid) -> anyhow::Result<()> {
    let number = |process: &str| {
        let path = format!("/proc/{process}/ns/net");
        let file = fs::metadata(&path).with_context(|| format!("{path:?}"))?;
        anyhow::Ok((file.dev(), file.ino()))
    };
    if number("self")? != number(&container.to_string())? {
        return Ok(());
    }
    let error = anyhow!("the container has no network of its own to lead to");
    Err(error.context(Advice {
        cause: "what listens there is to be reached as it is".into(),
        fix: "leave out -p".into(),
        page: PAGE.to_string(),
    }))
}

impl Publisher {
    /// What is open, as `docker ps` prints it.
    pub fn texts(&self) -> Vec<String> {
        self.ports.iter().map(|it| it.text.clone()).collect()
    }
}

impl Drop for Publisher {
    /// Returns when the process is gone: then its ports are free.
    fn drop(&mut self) {
        // Another process may have a copy of this value.
        if let Some((parent, process)) = self.process.take()
            && parent == getpid()
        {
            if let Ok(Some((_, Change::Ended(end)))) = reap(Some(process)) {
                let code = end.code();
                warning(&anyhow!(
                    "nobody could get in any more: the process that publishes \
                     ports has ended before the container, with code {code}"
                ));
                return;
            }
            let _ = pass_on(libc::SIGKILL, process);
            let _ = process::wait(process);
        }
    }
}

/// What the process says when it serves; anything else is an error.
const READY: &str = "+";

/// The process: stands between the host and the container, and passes on.
fn serve(
    doors: Vec<Open>,
    container: Pid,
    answer: OwnedFd,
    parent: Pid,
) -> anyhow::Result<Infallible> {
    let mut answer = File::from(answer);
    let prepare = || {
        let numbers = doors.iter().map(|it| it.as_fd().as_raw_fd());
        let mut kept: Vec<RawFd> = numbers.collect();
        kept.push(answer.as_raw_fd());
        confine::let_go(&kept)?;
        confine::enter(container)?;
        let relay = Relay::new(doors)?;
        confine::give_up_rights()?;
        // Otherwise it would keep the ports, and the container's network
        // namespace with them. The change of ids would have taken it back.
        process::end_with(parent)?;
        confine::fall_silent()?;
        confine::filter_calls()?;
        anyhow::Ok(relay)
    };
    let relay = match prepare() {
        Ok(relay) => relay,
        Err(error) => {
            let _ = answer.write_all(one_line(&error).as_bytes());
            process::exit(FAILED);
        }
    };
    answer.write_all(READY.as_bytes())?;
    drop(answer);
    relay.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_our_network_gets_no_port() {
        let publish = vec!["8080:80".parse().expect("it is a port")];
        let refused = Ports { publish }.publish(getpid());
        let error = refused.err().expect("it is refused");
        assert!(one_line(&error).contains("no network of its own"));
    }
}
