//! A command as execve(2) takes it.
#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_char},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
    ptr,
};

use nix::{errno::Errno, unistd::Pid};

use super::user::Account;
use crate::{
    process::{signals, vfork, wait},
    sys,
};

/// Where a launcher writes its errno.
const REPORT: RawFd = 3;

/// A command with nothing left to look up or to allocate, since a child that
/// runs in our memory must do neither (see [`vfork`]).
pub(crate) struct Command {
    /// The file that is executed.
    pub(crate) file: PathBuf,
    /// That file, and the arguments behind it.
    path_and_arguments: Strings,
    environment: Strings,
    /// Whom it runs as, if not as we do.
    user: Option<Account>,
}

impl Command {
    pub(crate) fn new(
        file: PathBuf,
        arguments: Vec<CString>,
        environment: Vec<CString>,
        user: Option<Account>,
    ) -> Command {
        // A file that was found has no NUL in its name.
        let path = CString::new(file.clone().into_os_string().into_vec());
        let mut path_and_arguments = vec![path.unwrap_or_default()];
        path_and_arguments.extend(arguments);
        Command {
            file,
            path_and_arguments: Strings::new(path_and_arguments),
            environment: Strings::new(environment),
            user,
        }
    }

    /// The call by which the launcher is started.
    pub(crate) const LAUNCH: &str = r#"execveat(…, "", …, AT_EMPTY_PATH)"#;

    /// Shows the calls by which this process, or a child if there are calls that
    /// come `first`, becomes the command, where that was asked for.
    #[track_caller]
    pub(crate) fn announce(&self, first: &[&str]) {
        sys::explain::end_with(|| {
            let strings: Vec<String> = self.path_and_arguments.quoted();
            let execve = match &strings[..] {
                [path, arguments @ ..] => {
                    format!("execve({path}, [{}], …)", arguments.join(", "))
                }
                [] => "execve(…)".into(),
            };
            let first = first.iter().map(|&call| call.to_owned());
            first.chain([execve]).collect()
        });
    }

    /// Becomes the command, with no signal blocked: the mask survives the exec.
    /// Returns only if it fails. See execve(2).
    pub(crate) fn exec(&self) -> Errno {
        if let Err(errno) = self.prepare() {
            return errno;
        }
        let [path, arguments @ ..] = self.path_and_arguments.pointers() else {
            return Errno::EFAULT;
        };
        // SAFETY: the path and what the lists point to end in NUL and live as
        // long as `self`; both lists end in a null pointer.
        unsafe {
            libc::execve(*path, arguments.as_ptr(), self.environment.as_ptr())
        };
        Errno::last()
    }

    /// What is left to be done in the process that becomes the command.
    fn prepare(&self) -> Result<(), Errno> {
        self.user.as_ref().map_or(Ok(()), Account::become_it)?;
        signals::unblock().map_err(|_| Errno::last())
    }

    /// Creates a child that becomes the command by way of the program
    /// `launcher`, an open file; returns when that has executed the command, or
    /// could not. See execveat(2).
    pub(crate) fn launch(
        &self,
        launcher: &OwnedFd,
    ) -> anyhow::Result<Result<Pid, Errno>> {
        let (ours, theirs) = sys::pipe2()?;
        // Out of the way of the number that one of them is to have.
        let launcher = sys::fcntl_dupfd_cloexec(launcher, REPORT + 1)?;
        let theirs = sys::fcntl_dupfd_cloexec(theirs, REPORT + 1)?;
        let started = vfork(|| self.exec_launcher(&launcher, &theirs))?;
        drop(theirs);
        let Ok(child) = started else {
            return Ok(started);
        };
        // The end comes when the command's exec has closed the other side.
        let Some(errno) = report(&ours)? else {
            return Ok(Ok(child));
        };
        wait(child)?;
        Ok(Err(errno))
    }

    /// Becomes the command by way of the program `launcher`, which reports to
    /// `report`. Returns only if it fails.
    pub(crate) fn exec_by(
        &self,
        launcher: &OwnedFd,
        report: &OwnedFd,
    ) -> sys::Result<Errno> {
        // As in `launch`.
        let launcher = sys::fcntl_dupfd_cloexec(launcher, REPORT + 1)?;
        let report = sys::fcntl_dupfd_cloexec(report, REPORT + 1)?;
        Ok(self.exec_launcher(&launcher, &report))
    }

    /// In the child: becomes the launcher. Allocates nothing.
    fn exec_launcher(&self, launcher: &OwnedFd, report: &OwnedFd) -> Errno {
        // SAFETY: dup2(2) takes two integers. What had the number 3 in this
        // process is closed; it would have been by the exec.
        if unsafe { libc::dup2(report.as_raw_fd(), REPORT) } == -1 {
            return Errno::last();
        }
        if let Err(errno) = self.prepare() {
            return errno;
        }
        // SAFETY: as in `exec`; the path is empty, and the descriptor open.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                launcher.as_raw_fd(),
                c"".as_ptr(),
                self.path_and_arguments.as_ptr(),
                self.environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        Errno::last()
    }
}

/// What a launcher has written to the other end of this pipe, if it has.
pub(crate) fn report(ours: &OwnedFd) -> sys::Result<Option<Errno>> {
    let mut errno = [0; 4];
    Ok(match sys::read(ours, &mut errno)? {
        0 => None,
        _ => Some(Errno::from_raw(-i32::from_ne_bytes(errno))),
    })
}

/// Strings as C wants them: a list of pointers that ends in a null pointer.
struct Strings {
    pointers: Vec<*const c_char>,
    /// What they point to.
    strings: Vec<CString>,
}

impl Strings {
    fn new(strings: Vec<CString>) -> Strings {
        let pointers = strings.iter().map(|it| it.as_ptr());
        Strings {
            pointers: pointers.chain([ptr::null()]).collect(),
            strings,
        }
    }

    fn quoted(&self) -> Vec<String> {
        self.strings.iter().map(|it| format!("{it:?}")).collect()
    }

    fn pointers(&self) -> &[*const c_char] {
        &self.pointers
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}
