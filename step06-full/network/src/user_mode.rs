//! The way out of a plain user, who can neither make a bridge nor change rules:
//! a program that reads what the container sends, packet by packet, and does
//! with sockets of its own what the packets ask for.
//!
//! It needs no right on the host. In the container's network namespace it makes
//! an interface, as the container's root. See slirp4netns(1), pasta(1).

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use nix::unistd::Pid;

use crate::helper::{self, End, Helper};

/// A way out that lasts as long as this exists.
pub struct UserMode {
    _program: Helper,
}

/// What the container's resolver is with slirp4netns(1), which asks the host's.
pub const SLIRPS_RESOLVER: &str = "10.0.2.3";

/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// The programs, and which of them is here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Program {
    /// slirp4netns(1).
    Slirp,
    /// pasta(1).
    Pasta,
}

impl Program {
    /// The first one that is installed.
    #[must_use]
    pub fn find() -> Option<Program> {
        let all = [Program::Slirp, Program::Pasta];
        all.into_iter().find(|it| helper::find(it.name()).is_some())
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Program::Slirp => "slirp4netns",
            Program::Pasta => "pasta",
        }
    }

    /// What it gets to know. In each case the host's loopback stays closed: by
    /// default both lead an address of the container's network to it.
    fn arguments(self, container: &str) -> Vec<&str> {
        match self {
            // It ends with its standard input, which is ours.
            Program::Slirp => vec![
                "--configure",
                "--mtu=65520",
                "--disable-host-loopback",
                "--exit-fd=0",
                container,
                "tap0",
            ],
            // None of the ports of either side is passed on.
            Program::Pasta => vec![
                "--config-net",
                "--no-map-gw",
                "-t",
                "none",
                "-u",
                "none",
                "-T",
                "none",
                "-U",
                "none",
                "-f",
                container,
            ],
        }
    }

    /// Starts it for the process `container`, which is in the network namespace
    /// and waits at its gate.
    ///
    /// # Errors
    /// It ends, or does nothing.
    pub fn start(self, container: Pid) -> anyhow::Result<UserMode> {
        let name = self.name();
        let Some(program) = helper::find(name) else {
            bail!("{name}(1) is gone");
        };
        let number = container.to_string();
        let arguments = self.arguments(&number);
        let mut program =
            Helper::start(&program, &arguments, End::WithItsParent)?;
        let start = Instant::now();
        while !has_way_out(container) {
            if program.has_ended() || start.elapsed() > PATIENCE {
                let says =
                    program.hear(Duration::from_millis(100), |_| false)?;
                let says = says.lines().last().unwrap_or("nothing").to_owned();
                bail!("{name}(1) makes no way out, and says: {says}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(UserMode { _program: program })
    }
}

/// Whether there is a default route in the network namespace of a process: its
/// destination is 0. See proc(5), `/proc/PID/net/route`.
fn has_way_out(process: Pid) -> bool {
    let routes = fs::read_to_string(format!("/proc/{process}/net/route"));
    let routes = routes.unwrap_or_default();
    let mut destinations = routes
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    destinations.any(|it| it == "00000000")
}
