//! The probe's agent inside the container, and the line between the two.

use std::{
    convert::Infallible,
    env,
    ffi::CString,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    process::ExitCode,
    rc::Rc,
};

use anyhow::Context;
use nix::{
    errno::Errno,
    fcntl::AtFlags,
    sys::socket::{MsgFlags, SockType, UnixCredentials},
};

use super::{Attempt, Host, rows};
use crate::{process, sys};

/// Longer than any message on the line.
const MESSAGE_MAX: usize = 64 * 1024;

/// The first argument of a program that was executed to try one row.
const TRY_ROW: &str = "try-row";

/// The exit code of a program that was executed to try one row, and refused.
/// Whatever else it is but 0, the program could not even start.
const REFUSED: u8 = 3;

/// What has become of an attempt.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    Worked,
    Refused,
    /// It could not be made.
    NotTried,
}

/// What the agent has got by trying.
pub(super) struct Answer {
    /// What has become of the attempt.
    pub(super) outcome: Outcome,
    /// What it has brought back.
    pub(super) text: String,
    /// Who the agent is, in our namespaces: the kernel itself says it.
    pub(super) sender: UnixCredentials,
}

/// The probe's end of the line.
pub(super) struct Line(OwnedFd);

impl Line {
    /// Makes a line. The other end is the agent's.
    pub(super) fn new() -> anyhow::Result<(Line, Rc<OwnedFd>)> {
        // Each send is one message, and each recv takes one.
        let (ours, agents) = sys::socketpair(SockType::SeqPacket)?;
        sys::setsockopt_on(&ours, sys::SO_PASSCRED)?;
        Ok((Line(ours), Rc::new(agents)))
    }

    /// In another process than the probe's: closes its copy of our end, with
    /// which the line would never hang up.
    pub(super) fn close_copy(&self) -> anyhow::Result<()> {
        Ok(sys::close(self.0.as_raw_fd())?)
    }

    /// The agent's first message: what this run does not enforce, and why.
    pub(super) fn hello(&mut self) -> anyhow::Result<Vec<(String, String)>> {
        let text = self.receive()?.text;
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(pairs.map(|(what, why)| (what.into(), why.into())).collect())
    }

    /// Has the agent try the row number `index`.
    pub(super) fn ask(&mut self, index: usize) -> anyhow::Result<Answer> {
        sys::send(&self.0, index.to_string().as_bytes(), NO_SIGNAL)?;
        self.receive()
    }

    fn receive(&mut self) -> anyhow::Result<Answer> {
        let mut bytes = vec![0; MESSAGE_MAX];
        let (length, sender) = sys::recvmsg_with_sender(&self.0, &mut bytes)?;
        let (true, Some(sender)) = (length > 0, sender) else {
            anyhow::bail!("the probe's agent in the container has hung up");
        };
        let text = String::from_utf8_lossy(&bytes[..length]);
        let (mark, text) = text.split_at(1);
        let outcome = match mark {
            "+" => Outcome::Worked,
            "-" => Outcome::Refused,
            _ => Outcome::NotTried,
        };
        Ok(Answer {
            outcome,
            text: text.into(),
            sender,
        })
    }
}

/// The agent: runs inside the container in place of a command.
#[derive(Clone)]
pub(super) struct Agent {
    host: Rc<Host>,
    line: Rc<OwnedFd>,
}

impl Agent {
    pub(super) fn new(host: &Rc<Host>, line: Rc<OwnedFd>) -> Agent {
        Agent {
            host: host.clone(),
            line,
        }
    }

    /// What the attempts need open.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        vec![
            self.line.as_raw_fd(),
            self.host.program.as_raw_fd(),
            self.host.listener.as_raw_fd(),
        ]
    }

    /// Tries what the probe asks for, until it hangs up.
    pub(super) fn run(
        &self,
        environment: &[CString],
    ) -> anyhow::Result<Infallible> {
        let waived = super::waived::waived();
        let lines = waived.iter().map(|(what, why)| format!("{what}\t{why}\n"));
        self.say(Outcome::Worked, &lines.collect::<String>())?;
        loop {
            let mut bytes = [0; 16];
            let length = sys::recv(&self.line, &mut bytes, MsgFlags::empty())?;
            if length == 0 {
                process::exit(0);
            }
            let index: usize =
                std::str::from_utf8(&bytes[..length])?.parse()?;
            let row = rows::all().nth(index).context("no such row")?;
            let (outcome, text) = match row.attempt {
                Attempt::Here(attempt) | Attempt::Keeping(attempt) => {
                    match attempt(&self.host) {
                        Ok(text) => (Outcome::Worked, text),
                        Err(text) => (Outcome::Refused, text),
                    }
                }
                Attempt::AfterExec(_) => self.execute(index, environment)?,
            };
            self.say(outcome, &text)?;
        }
    }

    fn say(&self, outcome: Outcome, text: &str) -> anyhow::Result<()> {
        let mark = match outcome {
            Outcome::Worked => "+",
            Outcome::Refused => "-",
            Outcome::NotTried => "?",
        };
        let message = format!("{mark}{text}");
        match sys::send(&self.line, message.as_bytes(), NO_SIGNAL) {
            // Nobody wants to know any more (Ctrl-C).
            Err(error) if error.errno == Errno::EPIPE => process::exit(0),
            sent => Ok(sent.map(drop)?),
        }
    }

    /// Executes a copy of our own program, which needs no file in the
    /// container, and has it try the row.
    fn execute(
        &self,
        index: usize,
        environment: &[CString],
    ) -> anyhow::Result<(Outcome, String)> {
        let child = process::fork(|| {
            let index = CString::new(index.to_string())?;
            let arguments = [c"probe".into(), CString::new(TRY_ROW)?, index];
            let (program, flags) = (&self.host.program, AtFlags::AT_EMPTY_PATH);
            Ok(sys::execveat(program, c"", &arguments, environment, flags)?)
        })?;
        Ok(match process::wait(child)? {
            0 => (Outcome::Worked, String::new()),
            REFUSED => (Outcome::Refused, String::new()),
            _ => (
                Outcome::NotTried,
                "this program can't be executed inside".into(),
            ),
        })
    }
}

/// Without this a message to somebody who is gone would end us by SIGPIPE.
const NO_SIGNAL: MsgFlags = MsgFlags::MSG_NOSIGNAL;

/// In a program that was executed to try one row: tries it. The exit code says
/// whether it worked.
pub(crate) fn row_to_try() -> Option<ExitCode> {
    // They need not be UTF-8.
    let mut arguments = env::args_os().skip(1);
    if arguments.next()? != TRY_ROW {
        return None;
    }
    let index: usize = arguments.next()?.to_str()?.parse().ok()?;
    let Attempt::AfterExec(attempt) = rows::all().nth(index)?.attempt else {
        return None;
    };
    Some(match attempt() {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(REFUSED),
    })
}
