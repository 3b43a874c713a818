//! The caller's terminal, as screen and keyboard of a terminal in a container.
//!
//! It is set to hand on each key as it is pressed, and what is printed as it is:
//! what a line is, and what Ctrl-C does, is up to the terminal inside. Whoever
//! has set it so must set it back, and may be killed: therefore two processes
//! look after each other, the caller and a `relay`.

use std::{
    io::IsTerminal,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, ensure};
use common::{
    errors,
    process::{self, Change, exit},
    sys,
};
use nix::{
    fcntl::OFlag,
    libc::STDIN_FILENO,
    sys::{
        socket::SockType,
        termios::{SetArg, Termios, cfmakeraw},
    },
    unistd::{Pid, getpid},
};

use crate::{
    keys::{DetachKeys, Watch},
    relay,
    words::{self, Over},
};

/// The caller's terminal while a container has it.
pub(crate) struct Console {
    /// To the relay. The end of all copies of it tells that it is over.
    socket: Option<OwnedFd>,
    relay: Option<Pid>,
    modes: Option<Modes>,
    /// Us: in another process a copy of this does nothing at its end.
    owner: Pid,
}

/// A terminal, and how it was set.
pub(crate) struct Modes {
    terminal: OwnedFd,
    before: Termios,
}

impl Modes {
    /// Of standard input, if it is wanted.
    fn of_caller(wanted: bool) -> anyhow::Result<Option<Modes>> {
        if !wanted {
            return Ok(None);
        }
        let [stdin, ..] = sys::standard_streams();
        ensure!(stdin.is_terminal(), "the input device is not a TTY");
        let before = sys::tcgetattr(stdin)?;
        let terminal = sys::dup(stdin)?;
        Ok(Some(Modes { terminal, before }))
    }

    /// Each key as it is pressed. See cfmakeraw(3).
    pub(crate) fn set_raw(&self) -> sys::Result<()> {
        let mut raw = self.before.clone();
        cfmakeraw(&mut raw);
        sys::tcsetattr(&self.terminal, SetArg::TCSANOW, &raw)
    }

    /// As it was. It does not wait until all is printed: somebody may have
    /// stopped the screen.
    pub(crate) fn set_back(&self) -> sys::Result<()> {
        sys::tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before)
    }

    /// The terminal itself.
    pub(crate) fn terminal(&self) -> &OwnedFd {
        &self.terminal
    }

    /// How large it is.
    pub(crate) fn size(&self) -> sys::Result<(u16, u16)> {
        sys::ioctl_tiocgwinsz(&self.terminal)
    }
}

impl Console {
    /// Starts the relay, which waits for the terminal inside. Where the input is
    /// `wanted`, what is typed goes there. From here on the caller's standard
    /// input is `/dev/null`.
    ///
    /// # Errors
    /// Input is wanted, and standard input is no terminal: as with Docker.
    pub(crate) fn open(wanted: bool) -> anyhow::Result<Console> {
        let modes = Modes::of_caller(wanted)?;
        let (ours, theirs) = sys::socketpair(SockType::Stream)?;
        // Who lets go of this terminal could not come back to it.
        let keys = Watch::new("".parse()?);
        Console::start(Some(ours), theirs, modes, keys)
    }

    /// The same for a terminal that others look at, too: what is printed there
    /// comes through `shared`, and before it the master.
    pub(crate) fn open_shared(
        shared: OwnedFd,
        wanted: bool,
        keys: &DetachKeys,
    ) -> anyhow::Result<Console> {
        let modes = Modes::of_caller(wanted)?;
        Console::start(None, shared, modes, Watch::new(keys.clone()))
    }

    fn start(
        ours: Option<OwnedFd>,
        theirs: OwnedFd,
        modes: Option<Modes>,
        keys: Watch,
    ) -> anyhow::Result<Console> {
        let closed = ours.as_ref().map(AsRawFd::as_raw_fd);
        let owner = getpid();
        let relay = process::fork(|| {
            // Or the end would never come.
            closed.map_or(Ok(()), sys::close)?;
            let over = relay::serve(owner, &theirs, modes.as_ref(), keys)?;
            exit(over as u8)
        })?;
        drop(theirs);
        let null = sys::open("/dev/null", OFlag::O_RDONLY, 0)?;
        sys::dup2_standard(null, STDIN_FILENO)?;
        Ok(Console {
            socket: ours,
            relay: Some(relay),
            modes,
            owner,
        })
    }

    /// For who makes the terminal inside: gives the relay its master.
    pub(crate) fn hand_over(&self, master: OwnedFd) -> anyhow::Result<()> {
        if let Some(socket) = &self.socket {
            sys::sendmsg_with_fds(socket, words::ALONE, &[master.as_fd()])
                .context("handing over the terminal")?;
        }
        Ok(())
    }

    /// Waits until the relay ends.
    ///
    /// # Errors
    /// Somebody has killed it.
    pub(crate) fn wait(mut self) -> anyhow::Result<Over> {
        let Some(relay) = self.relay.take() else {
            return Ok(Over::End);
        };
        let code = process::wait(relay)?;
        self.set_back();
        [Over::End, Over::Detached, Over::HungUp]
            .into_iter()
            .find(|it| *it as u8 == code)
            .with_context(|| format!("the relay has ended with {code}"))
    }

    /// The number of what the other processes need of it.
    pub(crate) fn socket(&self) -> Option<RawFd> {
        self.socket.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Looks whether the relay is still there.
    ///
    /// # Errors
    /// Somebody has killed it: there is no screen any more.
    pub(crate) fn look_after(&mut self) -> anyhow::Result<()> {
        let Some(relay) = self.relay else {
            return Ok(());
        };
        let Some((_, Change::Ended(end))) = process::reap(Some(relay))? else {
            return Ok(());
        };
        self.relay = None;
        self.set_back();
        ensure!(end.code() <= Over::HungUp as u8, "the relay was killed");
        Ok(())
    }

    fn set_back(&self) {
        if let Some(Err(error)) = self.modes.as_ref().map(Modes::set_back) {
            errors::warning(
                &anyhow::Error::from(error)
                    .context("setting the terminal back"),
            );
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if getpid() != self.owner {
            return;
        }
        // The relay sees that nobody is left, prints what there is, and ends.
        self.socket = None;
        if let Some(relay) = self.relay.take() {
            let _ = process::wait(relay);
        }
        self.set_back();
    }
}
