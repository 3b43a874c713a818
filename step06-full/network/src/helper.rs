//! Programs of others that work for a container, and end with it.

use std::{
    env,
    fs::File,
    io::Read,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use common::{
    process::{self, Stat, signals},
    sys,
};
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout},
    unistd::{AccessFlags, Pid, getpid},
};

/// A running program. Its standard input is ours to write to, and ends with us;
/// what it prints, wherever, is ours to read.
pub(crate) struct Helper {
    /// Who has started it: in another process a copy of this does nothing at its
    /// end.
    parent: Pid,
    pid: Pid,
    input: Option<File>,
    output: File,
}

/// What ends it, if nobody kills it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum End {
    /// The end of the process that has started it: the kernel kills it then.
    WithItsParent,
    /// The end of its input: of all processes that have a copy of that.
    WithItsInput,
}

/// Where programs are if PATH does not say so: those of the administrator, for a
/// plain user.
const MORE: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Finds a program.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = env::split_paths(&path).chain(MORE.map(PathBuf::from));
    let all = all.filter(|it| it.is_absolute());
    let is_program = |it: &PathBuf| {
        it.is_file() && sys::access(it, AccessFlags::X_OK).is_ok()
    };
    all.map(|it| it.join(name)).find(is_program)
}

impl Helper {
    /// Starts `program`.
    ///
    /// It gets a session of its own: a Ctrl-C is meant for the container.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        end: End,
    ) -> anyhow::Result<Helper> {
        let (input, our_input) = sys::pipe2()?;
        let (our_output, output) = sys::pipe2()?;
        // What it says later nobody reads, and it must not wait for that.
        sys::fcntl_setfl(&output, OFlag::O_NONBLOCK)?;
        let parent = getpid();
        let pid = process::fork(|| {
            if end == End::WithItsParent {
                process::end_with(parent)?;
            }
            sys::setsid()?;
            signals::unblock()?;
            Err(execute(program, arguments, input, output))
        })?;
        Ok(Helper {
            parent,
            pid,
            input: Some(our_input.into()),
            output: our_output.into(),
        })
    }

    /// Says something to it.
    pub(crate) fn say(&mut self, text: &str) -> sys::Result<()> {
        self.input
            .as_ref()
            .map_or(Ok(()), |it| sys::write(it, text))
    }

    /// What it says until `is_enough`, or until it says nothing for so long, or
    /// ends.
    pub(crate) fn hear(
        &mut self,
        patience: Duration,
        is_enough: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let mut heard = String::new();
        let patience = PollTimeout::try_from(patience).context("poll(2)")?;
        while !is_enough(&heard) {
            let mut ends =
                [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            if sys::poll(&mut ends, patience)? == 0 {
                break;
            }
            let mut bytes = [0; 4096];
            let length = self.output.read(&mut bytes).context("read(2)")?;
            if length == 0 {
                break;
            }
            heard += &String::from_utf8_lossy(&bytes[..length]);
        }
        Ok(heard)
    }

    /// Where it says something, and hangs up.
    pub(crate) fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Whether nobody has the other side of [`Helper::output`] any more.
    pub(crate) fn has_hung_up(&self) -> bool {
        let mut end = [PollFd::new(self.output(), PollFlags::empty())];
        let polled = sys::poll(&mut end, PollTimeout::ZERO);
        polled.is_ok_and(|ready| ready > 0)
    }

    /// What of it is open.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        let input = self.input.as_ref().map(AsRawFd::as_raw_fd);
        input.into_iter().chain([self.output.as_raw_fd()]).collect()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        let stat = Stat::read(&self.pid.to_string());
        stat.is_none_or(|it| it.has_ended())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if getpid() != self.parent {
            return;
        }
        self.input = None;
        let killed = process::pass_on(libc::SIGKILL, self.pid);
        let waited = killed.and_then(|()| process::wait(self.pid));
        // It is our child, so there is nothing that could fail.
        let _ = waited;
    }
}

/// Becomes the program; returns only if that fails.
fn execute(
    program: &Path,
    arguments: &[&str],
    input: OwnedFd,
    output: OwnedFd,
) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    let errors = match sys::dup(&output) {
        Ok(errors) => errors,
        Err(error) => return error.into(),
    };
    let error = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors))
        .exec();
    anyhow::Error::from(error).context(format!("execve({program:?})"))
}
