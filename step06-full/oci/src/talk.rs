//! What the runtime and the container's process say to each other while the
//! container is made.
//!
//! They are connected by a pair of sockets. When one of them is gone, the other
//! one reads the end, so neither waits for nobody: a runtime that was killed
//! leaves no process behind it that is half a container.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use anyhow::{Context, bail};
use common::{process, sys};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, SockType},
    unistd::Pid,
};

/// What the new process says.
pub(crate) enum Said {
    /// The container's process, which was made by one that is gone.
    Process(Pid),
    /// All is mounted; the root is still the host's.
    Mounted,
    /// The process waits to be started, or was executed.
    Ready,
}

/// The runtime's end.
pub(crate) struct Runtime(OwnedFd);

/// The new process's end.
pub(crate) struct New {
    end: OwnedFd,
    /// The runtime's, of which it has a copy that must not stay open.
    other: RawFd,
}

/// Makes both ends. The second is moved into the function that the new process
/// runs.
pub(crate) fn pair() -> anyhow::Result<(Runtime, New)> {
    let (ours, end) = sys::socketpair(SockType::SeqPacket)?;
    let other = ours.as_raw_fd();
    Ok((Runtime(ours), New { end, other }))
}

/// A message is shorter than this, with room for the chain of an error.
const ROOM: usize = 4096;

impl Runtime {
    /// Lets the process go on.
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        match sys::send(&self.0, b"G", MsgFlags::MSG_NOSIGNAL) {
            // It is gone, and has perhaps said why.
            Err(error) if error.errno == Errno::EPIPE => {
                self.hear().map(drop)?;
                Err(error.into())
            }
            sent => Ok(sent.map(drop)?),
        }
    }

    /// The next message; an empty one is the end.
    fn receive(&self) -> anyhow::Result<Vec<u8>> {
        let mut room = vec![0; ROOM];
        let received = loop {
            match sys::recv(&self.0, &mut room, MsgFlags::empty()) {
                // It has ended before it heard our last word; what it had said
                // before that is still there.
                Err(error) if error.errno == Errno::ECONNRESET => {}
                received => break received?,
            }
        };
        room.truncate(received);
        Ok(room)
    }

    /// Waits for what the process says next.
    ///
    /// # Errors
    /// What it says is why it has failed; or it is gone without a word.
    pub(crate) fn hear(&self) -> anyhow::Result<Said> {
        let text = String::from_utf8_lossy(&self.receive()?).into_owned();
        Ok(match text.split_at_checked(1) {
            Some(("P", pid)) => Said::Process(Pid::from_raw(pid.parse()?)),
            Some(("M", _)) => Said::Mounted,
            Some(("R", _)) => Said::Ready,
            Some(("E", why)) => bail!("{why}"),
            _ => bail!("the container's process was killed as it was made"),
        })
    }

    /// Waits until the process has executed its program.
    ///
    /// # Errors
    /// It could not, and says why; or the stub does.
    pub(crate) fn hear_executed(&self) -> anyhow::Result<()> {
        match &self.receive()?[..] {
            [b'E', why @ ..] => bail!("{}", String::from_utf8_lossy(why)),
            said => crate::start::executed(said),
        }
    }
}

impl New {
    /// The number of this end, for who closes all others.
    pub(crate) fn number(&self) -> RawFd {
        self.end.as_raw_fd()
    }

    /// This end, for the stub to close.
    pub(crate) fn end(&self) -> &OwnedFd {
        &self.end
    }

    /// In the new process, first of all.
    pub(crate) fn is_mine(&self) -> anyhow::Result<()> {
        Ok(sys::close(self.other)?)
    }

    /// Waits until the runtime lets us go on. If it is gone, so are we.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        let mut room = [0];
        match sys::recv(&self.end, &mut room, MsgFlags::empty())? {
            0 => process::exit(1),
            _ => Ok(()),
        }
    }

    /// Tells the runtime.
    pub(crate) fn say(&self, said: &Said) -> anyhow::Result<()> {
        let text = match said {
            Said::Process(pid) => format!("P{pid}"),
            Said::Mounted => "M".into(),
            Said::Ready => "R".into(),
        };
        self.send(&text).context("telling the runtime")
    }

    /// Tells the runtime why there is no container, and ends this process.
    pub(crate) fn fail(&self, error: &anyhow::Error) -> ! {
        let mut text = format!("E{error:#}");
        let mut end = text.len().min(ROOM - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        // Nobody may be there to hear it.
        let _ = self.send(&text);
        process::exit(1)
    }

    fn send(&self, text: &str) -> anyhow::Result<()> {
        sys::send(&self.end, text.as_bytes(), MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }
}
