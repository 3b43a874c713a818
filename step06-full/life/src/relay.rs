//! The relay: a process that carries what is typed to a terminal in a container,
//! and what is printed there back.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::Context;
use common::{
    process,
    sys::{
        self,
        signals::{read_signal, signalfd, sigprocmask},
    },
};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::signal::{SigSet, SigmaskHow, Signal},
    unistd::{Pid, getppid},
};

use crate::{
    console::Modes,
    keys::Watch,
    words::{ALONE, DETACHED, Over},
};

/// How much is carried at once.
const CHUNK: usize = 4096;

/// What a relay hears of.
const SIGNALS: [Signal; 6] = [
    // The window has another size.
    Signal::SIGWINCH,
    // Whoever was stopped goes on, with a terminal that was set by others.
    Signal::SIGCONT,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];

/// Waits for the master of a terminal, which comes through `socket`, and carries
/// until nobody else has the other end of that, or its parent, `caller`, ends.
pub(crate) fn serve(
    caller: Pid,
    socket: &OwnedFd,
    modes: Option<&Modes>,
    keys: Watch,
) -> anyhow::Result<Over> {
    let mut kept = vec![socket.as_raw_fd()];
    kept.extend(modes.map(|it| it.terminal().as_raw_fd()));
    process::close_own_descriptors(&kept)?;
    let signals = SigSet::from_iter(SIGNALS);
    sigprocmask(SigmaskHow::SIG_BLOCK, &signals)?;
    // Nobody is left then to set the terminal back.
    sys::prctl_set_pdeathsig(Signal::SIGTERM)?;
    if getppid() != caller {
        return Ok(Over::HungUp);
    }
    let mut word = [0];
    let (_, descriptors) = sys::recvmsg_with_fds(socket, &mut word)?;
    // It ends before it has begun.
    let Some(master) = descriptors.into_iter().next() else {
        return Ok(Over::End);
    };
    sys::fcntl_setfl(&master, OFlag::O_RDWR | OFlag::O_NONBLOCK)?;
    let is_alone = word == ALONE;
    let mut relay = Relay {
        printed: if is_alone { &master } else { socket },
        end: is_alone.then_some(socket),
        signals: signalfd(&signals)?,
        master: &master,
        modes,
        keys,
        typed: Vec::new(),
    };
    relay.begin()?;
    let carried = relay.carry();
    if !is_alone && matches!(carried, Ok(Over::Detached)) {
        // Or it would look as if we had died.
        sys::write(socket, [DETACHED])?;
    }
    if let Some(modes) = modes {
        modes.set_back().context("setting the terminal back")?;
    }
    carried
}

struct Relay<'a> {
    /// What is printed comes from here.
    printed: &'a OwnedFd,
    /// It hangs up when all is over.
    end: Option<&'a OwnedFd>,
    signals: OwnedFd,
    master: &'a OwnedFd,
    /// The keyboard, if there is one.
    modes: Option<&'a Modes>,
    keys: Watch,
    /// What the master has not taken yet.
    typed: Vec<u8>,
}

/// What a relay waits for, in the order in which it is looked at.
#[derive(Clone, Copy, PartialEq)]
enum What {
    Signal,
    Key,
    Room,
    Print,
    End,
}

impl Relay<'_> {
    /// The keyboard is for the terminal inside now, which is as large as the
    /// screen.
    fn begin(&self) -> anyhow::Result<()> {
        let Some(modes) = self.modes else {
            return Ok(());
        };
        modes.set_raw().context("setting the terminal")?;
        let (rows, columns) = modes.size()?;
        Ok(sys::ioctl_tiocswinsz(self.master, rows, columns)?)
    }

    fn carry(&mut self) -> anyhow::Result<Over> {
        loop {
            for what in self.wait()? {
                let over = match what {
                    What::Signal => self.hear()?,
                    What::Key => self.type_in()?,
                    What::Room => self.write()?,
                    What::Print => self.print()?,
                    What::End => self.print_the_rest()?,
                };
                if let Some(over) = over {
                    return Ok(over);
                }
            }
        }
    }

    /// Waits until something happens.
    fn wait(&self) -> anyhow::Result<Vec<What>> {
        let (input, room) = (PollFlags::POLLIN, PollFlags::POLLOUT);
        let mut all = vec![(What::Signal, self.signals.as_fd(), input)];
        // Somebody who types more than is read waits.
        if let Some(keyboard) = self.keyboard()
            && self.typed.len() < CHUNK
        {
            all.push((What::Key, keyboard, input));
        }
        if !self.typed.is_empty() {
            all.push((What::Room, self.master.as_fd(), room));
        }
        all.push((What::Print, self.printed.as_fd(), input));
        all.extend(self.end.map(|it| (What::End, it.as_fd(), input)));
        let files = all
            .iter()
            .map(|(_, file, events)| PollFd::new(file.as_fd(), *events));
        let mut files: Vec<PollFd> = files.collect();
        match sys::poll(&mut files, PollTimeout::NONE) {
            // It was stopped, and goes on.
            Err(error) if error.errno == Errno::EINTR => return Ok(Vec::new()),
            polled => polled?,
        };
        let ready = all.iter().zip(&files);
        let ready = ready.filter(|(_, it)| it.any().unwrap_or(false));
        Ok(ready.map(|((what, ..), _)| *what).collect())
    }

    fn keyboard(&self) -> Option<BorrowedFd<'_>> {
        self.modes.map(|it| it.terminal().as_fd())
    }

    fn hear(&self) -> anyhow::Result<Option<Over>> {
        match read_signal(&self.signals)? {
            Some(libc::SIGWINCH | libc::SIGCONT) => self.begin()?,
            Some(_) => return Ok(Some(Over::HungUp)),
            None => {}
        }
        Ok(None)
    }

    /// Takes what was typed.
    fn type_in(&mut self) -> anyhow::Result<Option<Over>> {
        let Some(keyboard) = self.keyboard() else {
            return Ok(None);
        };
        let mut keys = [0; CHUNK];
        let length = match sys::read(keyboard, &mut keys) {
            // Its window was closed.
            Err(error) if error.errno == Errno::EIO => 0,
            read => read?,
        };
        if length == 0 {
            return Ok(Some(Over::HungUp));
        }
        let detached = self.keys.hear(&keys[..length], &mut self.typed);
        if !detached {
            return Ok(None);
        }
        // What was typed before the keys is still for the container.
        self.write()?;
        Ok(Some(Over::Detached))
    }

    fn write(&mut self) -> anyhow::Result<Option<Over>> {
        match sys::write_some(self.master, &self.typed) {
            Err(error) if error.errno == Errno::EAGAIN => {}
            // Nobody has the other side open, or will again.
            Err(error) if error.errno == Errno::EIO => self.typed.clear(),
            written => drop(self.typed.drain(..written?)),
        }
        Ok(None)
    }

    /// Prints what there is.
    fn print(&mut self) -> anyhow::Result<Option<Over>> {
        let mut text = [0; CHUNK];
        let length = match sys::read(self.printed, &mut text) {
            Err(error) if error.errno == Errno::EAGAIN => return Ok(None),
            // Nobody has the other side open: all of them have ended.
            Err(error) if error.errno == Errno::EIO => 0,
            // The same, where others have the master, too.
            Err(error) if error.errno == Errno::ECONNRESET => 0,
            read => read?,
        };
        if length == 0 {
            return Ok(Some(Over::End));
        }
        let [_, stdout, _] = sys::standard_streams();
        sys::write(stdout, &text[..length])?;
        Ok(None)
    }

    /// What was printed before the end is still in there.
    fn print_the_rest(&mut self) -> anyhow::Result<Option<Over>> {
        loop {
            let mut files =
                [PollFd::new(self.printed.as_fd(), PollFlags::POLLIN)];
            let ready = sys::poll(&mut files, PollTimeout::ZERO)?;
            if ready == 0 || self.print()?.is_some() {
                return Ok(Some(Over::End));
            }
        }
    }
}
