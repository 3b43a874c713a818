//! What runs inside the container: a command, or a function of this program's.
//!
//! What the function is for is not known here; the probe hands itself in as one.

use std::{
    collections::VecDeque,
    convert::Infallible,
    ffi::{CString, OsStr, OsString},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, ensure};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, ResolveFlag},
    unistd::{AccessFlags, Pid, Uid, access},
};

use crate::{
    errors::{Advice, CannotRun, pages},
    host::machine,
    process::{self, signals},
    rootfs, sys,
};

mod command;
mod elsewhere;
mod user;
mod waiting;

pub use waiting::STARTED;

use command::Command;
use user::Account;
use waiting::Waiting;

/// Where commands are looked for when nothing else is said.
const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What runs inside the container: a command, or a function.
#[derive(Clone)]
pub struct Workload {
    /// The command and its arguments; empty only for a function.
    command: Vec<OsString>,
    /// Its environment begins with that of this program.
    inherits: bool,
    /// The settings in its environment, or behind that, later ones last.
    environment: Vec<(OsString, OsString)>,
    /// How many settings at the end of `environment` come from `--env`, or from
    /// the image.
    asked_for: usize,
    /// Nobody has given the command: it is a shell.
    is_default: bool,
    /// The working directory of the command, seen from inside.
    workdir: Option<PathBuf>,
    /// Whom the command runs as, if not as root.
    user: Option<String>,
    /// It runs in place of the command.
    function: Option<Function>,
    /// The program that starts the command.
    launcher: Option<Rc<OwnedFd>>,
    /// Who is told of the command's start.
    waiting: Waiting,
}

/// What an image says about the commands that run in it.
#[derive(Clone, Debug, Default)]
pub struct ImageSays {
    /// What each command begins with.
    pub entrypoint: Vec<OsString>,
    /// The command, where none is given.
    pub command: Vec<OsString>,
    /// Names and values.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the command begins.
    pub workdir: Option<PathBuf>,
}

/// A function that runs in place of a command.
#[derive(Clone)]
struct Function {
    /// What it needs open.
    kept: Vec<RawFd>,
    call: Rc<Call>,
}

/// It gets the environment that a command would have, and returns only if it
/// fails.
type Call = dyn Fn(&[CString]) -> anyhow::Result<Infallible>;

impl Workload {
    /// A command with the environment that we have, and `extra` in it.
    pub fn new(
        command: Vec<OsString>,
        extra: Vec<(OsString, OsString)>,
        workdir: Option<PathBuf>,
    ) -> Workload {
        Workload {
            command,
            inherits: true,
            asked_for: extra.len(),
            environment: extra,
            is_default: false,
            workdir,
            user: None,
            function: None,
            launcher: None,
            waiting: Waiting::default(),
        }
    }

    /// The command and its arguments; empty for a function.
    pub fn command(&self) -> &[OsString] {
        &self.command
    }

    /// The settings of its environment that somebody has asked for, in order.
    pub fn settings(&self) -> &[(OsString, OsString)] {
        &self.environment[self.environment.len() - self.asked_for..]
    }

    /// The directory that it begins in, and whom it runs as, if that was said.
    pub fn place(&self) -> (Option<&Path>, Option<&str>) {
        (self.workdir.as_deref(), self.user.as_deref())
    }

    /// A shell, since no command was given: its prompt says where one is.
    pub(crate) fn shell(
        mut extra: Vec<(OsString, OsString)>,
        workdir: Option<PathBuf>,
    ) -> Workload {
        extra.insert(0, ("PS1".into(), "$(hostname)# ".into()));
        Workload {
            is_default: true,
            ..Workload::new(vec!["sh".into()], extra, workdir)
        }
    }

    /// A function of this program's, in place of a command. It gets the
    /// environment that a command would have, and uses the open files `kept`;
    /// it returns only if it fails.
    pub(crate) fn function(
        kept: Vec<RawFd>,
        call: impl Fn(&[CString]) -> anyhow::Result<Infallible> + 'static,
    ) -> Workload {
        let call = Rc::new(call);
        Workload {
            function: Some(Function { kept, call }),
            ..Workload::new(Vec::new(), Vec::new(), None)
        }
    }

    /// The same workload with an environment that has nothing of ours: only
    /// `PATH`, `HOME`, `HOSTNAME`, `TERM` and what `--env` asks for.
    #[must_use]
    pub fn with_fresh_environment(&self, hostname: &str) -> Workload {
        let mut fresh: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), DEFAULT_PATH.into()),
            ("HOME".into(), "/root".into()),
            ("HOSTNAME".into(), hostname.into()),
        ];
        // Without it an editor does not know how to draw.
        if let Some(term) = std::env::var_os("TERM") {
            fresh.push(("TERM".into(), term));
        }
        let ours = self.environment.len() - self.asked_for;
        fresh.extend_from_slice(&self.environment[ours..]);
        Workload {
            inherits: false,
            environment: fresh,
            ..self.clone()
        }
    }

    /// The same workload in an image that has something to say about it: what
    /// the command begins with, what it is where none was given, its
    /// environment and where it begins. What was asked for on the command line
    /// counts more.
    ///
    /// # Errors
    /// There is no command, neither given nor the image's.
    pub fn in_image(&self, image: ImageSays) -> anyhow::Result<Workload> {
        if self.function.is_some() {
            return Ok(self.clone());
        }
        let mut command = image.entrypoint;
        command.extend(match self.is_default {
            true => image.command,
            false => self.command.clone(),
        });
        ensure!(!command.is_empty(), "the image has no command: name one");
        let mut environment = self.environment.clone();
        let ours = environment.len() - self.asked_for;
        // That of our own shell.
        let mut asked_for = environment.split_off(ours);
        if self.is_default {
            asked_for.remove(0);
        }
        let settings = image.environment.len();
        environment.extend(image.environment);
        let asked_for_count = settings + asked_for.len();
        environment.extend(asked_for);
        Ok(Workload {
            command,
            environment,
            asked_for: asked_for_count,
            is_default: false,
            workdir: self.workdir.clone().or(image.workdir),
            ..self.clone()
        })
    }

    /// The same workload, run as `user`: `NAME[:GROUP]`, each a name that the
    /// container's own `/etc/passwd` and `/etc/group` have, or a number.
    #[must_use]
    pub fn as_user(self, user: Option<String>) -> Workload {
        Workload { user, ..self }
    }

    /// Whom it runs as, if not as root. To be called in the container.
    ///
    /// # Errors
    /// There is nobody of that name.
    pub fn user_id(&self) -> anyhow::Result<Option<Uid>> {
        Ok(self.account()?.map(|it| it.uid()))
    }

    fn account(&self) -> anyhow::Result<Option<Account>> {
        let find = |user: &str| {
            Account::find(user).with_context(|| format!("becoming {user:?}"))
        };
        self.user.as_deref().map(find).transpose()
    }

    /// The same workload, started by `launcher`: a program that executes the
    /// file that is its first argument, with the arguments behind it. If it
    /// can't, it writes the negative errno, four bytes, to descriptor 3.
    #[must_use]
    pub fn started_by(self, launcher: OwnedFd) -> Workload {
        Workload {
            launcher: Some(Rc::new(launcher)),
            ..self
        }
    }

    /// Starts the command as a child of this process, and returns its number.
    ///
    /// The caller must have only one thread, and end with the container: the
    /// descriptors that our program has opened are closed.
    ///
    /// # Errors
    /// As [`Workload::exec`].
    pub fn spawn(&self) -> anyhow::Result<Pid> {
        let started = self.start();
        self.waiting.tell(&started);
        started
    }

    /// Starts the command as a child of this process, and returns its number.
    /// Nobody who waits for that has been told of it.
    fn start(&self) -> anyhow::Result<Pid> {
        self.leave_the_host(&[])?;
        if let Some(function) = &self.function {
            // It needs memory of its own: it does not exec, it stays.
            return process::fork(|| self.call(function));
        }
        let command = self.prepare()?;
        let child = match &self.launcher {
            None => {
                command.announce(&[process::VFORK]);
                process::vfork(|| command.exec())?
            }
            Some(launcher) => {
                command.announce(&[process::VFORK, Command::LAUNCH]);
                command.launch(launcher)?
            }
        };
        child.map_err(|errno| self.cannot_run(&command.file, errno))
    }

    /// Becomes the command: the end of each container, and so the one function
    /// that returns only if it fails. See execve(2).
    ///
    /// # Errors
    /// [`CannotRun`] when there is no such command (127), or when it can't be
    /// executed (126).
    pub fn exec(&self) -> anyhow::Result<Infallible> {
        self.leave_the_host(&[])?;
        if let Some(function) = &self.function {
            return self.call(function);
        }
        let command = self.prepare()?;
        command.announce(&[]);
        Err(self.cannot_run(&command.file, command.exec()))
    }

    fn call(&self, function: &Function) -> anyhow::Result<Infallible> {
        signals::unblock()?;
        (function.call)(&self.environment())
    }

    /// Closes what our program has open of the host, and only then looks at a
    /// path of the image: the working directory.
    ///
    /// A link in an image can lead to `/proc/self/fd/3`, and if that is a
    /// directory of the host, it is a way out of any root. To mark it
    /// close-on-exec is not enough: this is before the exec (CVE-2024-21626 of
    /// runc).
    fn leave_the_host(&self, more: &[RawFd]) -> anyhow::Result<()> {
        let function = self.function.as_ref();
        let mut kept = function.map_or(vec![], |it| it.kept.clone());
        kept.extend(more);
        kept.extend(self.launcher.iter().map(|it| it.as_raw_fd()));
        kept.extend(self.waiting.number());
        process::close_own_descriptors(&kept)?;
        self.workdir
            .as_deref()
            .map_or(Ok(()), enter_directory)
            .context("entering the working directory")
    }

    /// Finds the command, and puts together what execve(2) takes.
    fn prepare(&self) -> anyhow::Result<Command> {
        let file = self
            .find()
            .map_err(|(path, errno)| self.cannot_run(&path, errno))?;
        let arguments = self.command.iter().map(c_string).collect();
        let user = self.account()?;
        let environment = match &user {
            Some(user) => self.at_home(&user.home).environment(),
            None => self.environment(),
        };
        Ok(Command::new(file, arguments, environment, user))
    }

    /// The same workload of somebody who is at home there, unless something else
    /// was asked for.
    fn at_home(&self, home: &OsStr) -> Workload {
        let mut workload = self.clone();
        let ours = workload.environment.len() - workload.asked_for;
        let setting = ("HOME".into(), home.to_owned());
        workload.environment.insert(ours, setting);
        workload.asked_for += 1;
        workload
    }

    /// The first file that the command's name can mean and that may be
    /// executed: as in every shell. Otherwise a file, and what is wrong with it.
    fn find(&self) -> Result<PathBuf, (PathBuf, Errno)> {
        let name = Path::new(&self.command[0]);
        let mut failure = None;
        for path in self.candidates() {
            let refused = match access(&path, AccessFlags::X_OK) {
                Ok(()) if path.is_dir() => Errno::EACCES,
                Ok(()) => return Ok(path),
                Err(errno) => errno,
            };
            match refused {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // A directory of PATH that is closed to us says nothing about
                // the command.
                Errno::EACCES if path != name && !path.exists() => {}
                errno => failure = failure.or(Some((path, errno))),
            }
        }
        Err(failure.unwrap_or((name.to_owned(), Errno::ENOENT)))
    }

    /// The error for a command that can't be executed.
    fn cannot_run(&self, path: &Path, errno: Errno) -> anyhow::Error {
        // As in every shell: what does not exist is 127, and so is what needs
        // something that does not exist.
        let code = if errno == Errno::ENOENT { 127 } else { 126 };
        let command = self.command[0].clone();
        let mut error = anyhow::Error::from(errno)
            .context(format!("execve({})", sys::quoted(path)))
            .context(CannotRun { command, code });
        if let Some(advice) = self.advice(path, errno) {
            error = error.context(advice);
        }
        error
    }

    /// The files that the command's name can mean.
    fn candidates(&self) -> Vec<PathBuf> {
        let name = Path::new(&self.command[0]);
        if name.as_os_str().is_empty() {
            return Vec::new();
        }
        if name.as_os_str().as_bytes().contains(&b'/') {
            return vec![name.to_owned()];
        }
        std::env::split_paths(&self.path())
            .map(|dir| dir.join(name))
            .collect()
    }

    /// The directories that the command is looked for in.
    fn path(&self) -> OsString {
        let mut settings = self.all_settings().into_iter();
        let path = settings.rfind(|(key, _)| key == "PATH");
        path.map_or(DEFAULT_PATH.into(), |(_, path)| path)
    }

    /// What to do about a command that can't be executed, when that is known.
    fn advice(&self, path: &Path, errno: Errno) -> Option<Advice> {
        let (cause, fix) = match errno {
            Errno::ENOENT if path.exists() => (
                "the file is there, but not the loader (ELF) or interpreter \
                 (#!) that it names"
                    .to_owned(),
                "static programs need none".to_owned(),
            ),
            Errno::ENOENT if path.components().count() == 1 => {
                self.why_not_in_path()
            }
            Errno::EACCES if path.is_dir() => {
                ("it is a directory".into(), "name a program in it".into())
            }
            Errno::EACCES if machine::is_noexec(path) => (
                "the file system that it is on is mounted noexec".into(),
                "use a directory on another one".into(),
            ),
            Errno::EACCES => (
                "it lacks the permission to be executed, or its loader does"
                    .into(),
                "chmod +x".into(),
            ),
            Errno::ENOEXEC => (
                "it is made for another kind of processor, or a script without \
                 a #! line"
                    .into(),
                "file(1) tells which".into(),
            ),
            _ => return None,
        };
        let page = pages::STEP_3.to_string();
        Some(Advice { cause, fix, page })
    }

    /// Why there is no such command in any directory of `PATH`, and what to do.
    fn why_not_in_path(&self) -> (String, String) {
        let shell_is_gone = !Path::new("/bin/sh").exists();
        let default = rootfs::default_in_use().filter(|_| shell_is_gone);
        match (rootfs::what_hides_tools(), default) {
            (Some(option), _) => (
                format!(
                    "a layer that was given by {option} hides the tools of the \
                     root file system, which still has them"
                ),
                "use another layer".into(),
            ),
            (None, Some(root)) => {
                let Advice { cause, fix, .. } =
                    rootfs::how_to_get_tools_back(root);
                (cause, fix)
            }
            (None, None) => (
                format!(
                    "not in any directory of PATH, which is {} here",
                    self.path().display()
                ),
                "name it by its path, or set another one by --env".into(),
            ),
        }
    }

    /// The whole environment, later settings last.
    fn all_settings(&self) -> Vec<(OsString, OsString)> {
        let inherited = self.inherits.then(std::env::vars_os);
        let inherited = inherited.into_iter().flatten();
        inherited.chain(self.environment.iter().cloned()).collect()
    }

    /// `KEY=value` for each setting; the last one of a key counts.
    fn environment(&self) -> Vec<CString> {
        let mut settings = VecDeque::from(self.all_settings());
        let mut strings = Vec::new();
        while let Some((key, value)) = settings.pop_front() {
            if settings.iter().any(|(later, _)| *later == key) {
                continue;
            }
            // As long as it will be, so that it is not copied again.
            let length = key.len() + "=".len() + value.len() + "\0".len();
            let mut setting = OsString::with_capacity(length);
            setting.push(key);
            setting.push("=");
            setting.push(value);
            strings.push(c_string(setting));
        }
        strings
    }
}

/// Makes `path` the working directory.
///
/// No link to a descriptor is followed (`ELOOP`), and what is not below our
/// root is refused (`ENOENT`). See openat2(2), `RESOLVE_NO_MAGICLINKS`, and
/// getcwd(3).
fn enter_directory(path: &Path) -> anyhow::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let no_magic_links = ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let directory = sys::openat2(AT_FDCWD, path, flags, no_magic_links)?;
    sys::fchdir(directory)?;
    sys::getcwd()?;
    Ok(())
}

/// As C wants it. The kernel has given us these strings, so there is no NUL in
/// them; one that came from elsewhere would end the string there.
fn c_string(text: impl Into<OsString>) -> CString {
    CString::new(text.into().into_vec()).unwrap_or_else(|error| {
        let mut bytes = error.into_vec();
        bytes.retain(|byte| *byte != 0);
        CString::new(bytes).unwrap_or_default()
    })
}
