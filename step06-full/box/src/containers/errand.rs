//! What `cp` does at one of its two ends: on the host, in a container that
//! runs, or among the files of one that does not.
//!
//! A container that has ended has no namespaces to enter. So its command line
//! is read once more, as for `start`, and its root is put together as for
//! `run`; but in place of the command it is our errand that is done there.

use std::{
    env,
    ffi::OsString,
    io::{stdin, stdout},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail};
use common::{NewProcess, process, sys};
use nix::{sched::CloneFlags, unistd::Pid};
use step06_full::{user, volumes};
use step06_life::{Container, VISIT, Visitor};

use super::archive;
use crate::{Args, start::Start};

/// Which errand it is: for the program that does it among the files of a
/// container that has ended.
const ERRAND: [&str; 3] = ["ERRAND", "ERRAND_PATH", "ERRAND_NAME"];

/// Something to be done with files.
pub(super) enum Errand {
    /// Is it a directory? The exit code says it.
    Look(PathBuf),
    /// Write what is there to the archive, under this name.
    Pack(PathBuf, PathBuf),
    /// The same, of what a link there leads to.
    PackLinked(PathBuf, PathBuf),
    /// Make what the archive has under this name in a directory.
    Unpack(PathBuf, PathBuf),
    /// The same, with the owners that the archive says.
    UnpackOwned(PathBuf, PathBuf),
}

impl Errand {
    /// Starts a process that does it: in `container`, or on the host. The
    /// archive comes or goes through `pipe`; `other` is its other end.
    pub(super) fn start(
        &self,
        container: Option<&Container>,
        pipe: &OwnedFd,
        other: Option<&OwnedFd>,
    ) -> anyhow::Result<Pid> {
        let work = || {
            // Or it would wait for itself, when nobody else is there any more.
            if let Some(other) = other {
                sys::close(other.as_raw_fd())?;
            }
            self.run(pipe.as_fd())
        };
        match container {
            None => process::fork(|| {
                work()?;
                process::exit(0)
            }),
            Some(it) if it.is_alive()? => it.inside(work),
            Some(it) => self.send(it, pipe),
        }
    }

    fn run(&self, pipe: BorrowedFd) -> anyhow::Result<()> {
        match self {
            Errand::Look(path) => process::exit((!path.is_dir()).into()),
            Errand::Pack(source, name) => archive::pack(source, name, pipe),
            Errand::PackLinked(source, name) => {
                let source = source.canonicalize();
                let source = source.context("following the link")?;
                archive::pack(&source, name, pipe)
            }
            Errand::Unpack(dir, name) => {
                archive::unpack(pipe, dir, name, false)
            }
            Errand::UnpackOwned(dir, name) => {
                archive::unpack(pipe, dir, name, true)
            }
        }
    }

    fn reads(&self) -> bool {
        matches!(self, Errand::Unpack(..) | Errand::UnpackOwned(..))
    }

    /// To a container that has ended.
    fn send(
        &self,
        container: &Container,
        pipe: &OwnedFd,
    ) -> anyhow::Result<Pid> {
        let nothing = PathBuf::new();
        let (word, path, name) = match self {
            Errand::Look(path) => ("look", path, &nothing),
            Errand::Pack(source, name) => ("pack", source, name),
            Errand::PackLinked(source, name) => ("pack-linked", source, name),
            Errand::Unpack(dir, name) => ("unpack", dir, name),
            Errand::UnpackOwned(dir, name) => ("unpack-owned", dir, name),
        };
        let config = &container.config;
        let mut program = Command::new("/proc/self/exe");
        let mut arguments = config.arguments.iter();
        program.arg0(arguments.next().context("there is no command line")?);
        let directory = Path::new(&config.directory);
        let status = directory.metadata();
        status.with_context(|| format!("it was made in {directory:?}"))?;
        program.args(arguments).current_dir(directory);
        program.env(VISIT, &config.name);
        program.envs(ERRAND.into_iter().zip([Path::new(word), path, name]));
        let pipe: Stdio = pipe.try_clone()?.into();
        match self {
            it if it.reads() => program.stdin(pipe).stdout(Stdio::null()),
            _ => program.stdin(Stdio::null()).stdout(pipe),
        };
        let child = program.spawn().context("execve(\"/proc/self/exe\")")?;
        Ok(Pid::from_raw(child.id().cast_signed()))
    }

    /// In the program that was sent.
    fn received() -> anyhow::Result<Errand> {
        let text = |name| env::var_os(name).unwrap_or_default();
        let [word, path, name]: [OsString; 3] = ERRAND.map(text);
        Ok(match word.to_str() {
            Some("look") => Errand::Look(path.into()),
            Some("pack") => Errand::Pack(path.into(), name.into()),
            Some("pack-linked") => Errand::PackLinked(path.into(), name.into()),
            Some("unpack") => Errand::Unpack(path.into(), name.into()),
            Some("unpack-owned") => {
                Errand::UnpackOwned(path.into(), name.into())
            }
            _ => bail!("there is no such errand: {word:?}"),
        })
    }
}

/// Does what was sent for, among the files of the container that has ended.
pub(crate) fn visit(
    args: &Args,
    image: &Start,
    visitor: &Visitor,
) -> anyhow::Result<ExitCode> {
    let errand = Errand::received()?;
    let root = image.root()?;
    let mut layers = image.layers(Some(visitor.upper())).find(&root)?;
    let volumes = args.volumes.open()?;
    let ids = user::Ids::choose(&args.ids, &mut layers)?;
    let mut process = NewProcess::default();
    process.flags |= CloneFlags::CLONE_NEWNS;
    process.flags |= CloneFlags::CLONE_NEWUSER;
    let child = process.spawn(|| {
        ids.become_root()?;
        step03_mount::make_private()?;
        let sources = volumes::sources(&volumes)?;
        let root = step05_overlay::mount_root(&root, &layers)?;
        volumes::mount(&volumes, sources, &root)?;
        step03_mount::enter_root(&root)?;
        sys::umask(0o022);
        match errand {
            _ if errand.reads() => errand.run(stdin().as_fd())?,
            _ => errand.run(stdout().as_fd())?,
        }
        process::exit(0)
    })?;
    ids.map(child.pid(), &layers, &volumes)?;
    child.start()?;
    child.wait()
}
