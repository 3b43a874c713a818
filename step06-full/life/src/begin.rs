//! How a container's life begins: it gets a name, and a process that stays.

use std::{
    env,
    fs::{DirBuilder, File},
    io::{self, IsTerminal, Write, stdin},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use common::{process, sys};
use nix::{
    sys::socket::SockType,
    unistd::{ForkResult, Pid, getpid},
};

use crate::{
    Container, DetachKeys, Instant, Monitor, Place,
    console::Console,
    lock::lock,
    place::{check_name, new_id, take_name},
    record::{self, CONFIG, Config, Subject},
    remove::remove,
    restart::keep_no_more,
    screen::Screen,
    streams::{Output, Streams, wait_for_start},
    sweep::{clear, sweep},
    threshold::Threshold,
    visit::Visitor,
    words::Over,
};

/// Which container `start` starts again: set for the program that does it.
pub const AGAIN: &str = "CONTAINER_TO_START";

/// The part of the command line about a container's life.
#[derive(clap::Args, Debug, Clone)]
pub struct LifeOptions {
    /// Run in the background, and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// Name of the container, which is kept until box rm
    #[arg(long)]
    name: Option<String>,
    /// Remove the container at its end [default: only what has no name and is
    /// not in the background]
    #[arg(long)]
    rm: bool,
    /// Give it a terminal of its own [default: the caller's, if there is one]
    #[arg(short, long)]
    tty: bool,
    /// With -t: what is typed at the caller's terminal is for it
    #[arg(short, long)]
    interactive: bool,
    /// Keys that let go of a container with a terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Write something on it, by which box ps finds it (repeatable)
    #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
    labels: Vec<String>,
}

/// Who a process is, when a container has begun its life.
pub enum Role {
    /// The parent that stays: all that follows is its work.
    Monitor(Box<Monitor>),
    /// Somebody who has to do with the files of a container that has ended.
    Visitor(Visitor),
    /// The process that was asked for it, which ends with this exit code.
    Caller(ExitCode),
}

impl LifeOptions {
    /// Begins a container's life: gives it a name, and a process that stays.
    /// With `--detach` that is a child of the caller.
    ///
    /// The caller must have one thread.
    ///
    /// # Errors
    /// The name is taken, or no name.
    pub fn begin(
        &self,
        place: &Place,
        subject: Subject,
    ) -> anyhow::Result<Role> {
        if let Some(visitor) = Visitor::of_environment(place)? {
            return Ok(Role::Visitor(visitor));
        }
        let looks = self.tty && !self.detach;
        ensure!(
            !(looks && self.interactive) || stdin().is_terminal(),
            "the input device is not a TTY"
        );
        let monitor = match env::var(AGAIN) {
            Ok(name) => Monitor::again(place, &name)?,
            Err(_) => self.create(place, subject)?,
        };
        let looks = looks && !monitor.is_old;
        match monitor.config.detached || looks || monitor.is_old {
            true => monitor.detach(looks.then_some(self)),
            false => Ok(Role::Monitor(Box::new(monitor))),
        }
    }

    fn create(
        &self,
        place: &Place,
        subject: Subject,
    ) -> anyhow::Result<Monitor> {
        let id = new_id()?;
        let name = self.name.clone().unwrap_or_else(|| id[..12].to_owned());
        check_name(&name)?;
        sweep(place)?;
        let dir = place.lasting(&name);
        let is_ours = take_name(&dir)?;
        ensure!(is_ours, "the name {name:?} is in use by another container");
        let made = self.make(place, &dir, id, name, subject);
        if made.is_err() {
            remove(&dir)?;
        }
        made
    }

    /// In a directory that is ours.
    fn make(
        &self,
        place: &Place,
        dir: &Path,
        id: String,
        name: String,
        subject: Subject,
    ) -> anyhow::Result<Monitor> {
        let lock = lock(dir)?.context("somebody has locked it")?;
        let directory = env::current_dir().context("getcwd()")?;
        let config = Config {
            id,
            name,
            created: Instant::now(),
            image: subject.image,
            command: subject.command,
            hostname: subject.hostname,
            environment: record::texts(subject.workload.settings()),
            workdir: subject.workload.place().0.map(PathBuf::from),
            user: subject.workload.place().1.map(str::to_owned),
            remove: self.rm || !(self.detach || self.name.is_some()),
            detached: self.detach,
            tty: self.tty,
            labels: record::labels(&self.labels),
            arguments: env::args_os().collect(),
            directory: directory.into(),
        };
        record::write(dir, CONFIG, &config)?;
        if !config.remove {
            record::sync(dir, CONFIG)?;
        }
        Monitor::new(place, config, lock, false)
    }
}

impl Monitor {
    fn again(place: &Place, name: &str) -> anyhow::Result<Monitor> {
        let container = Container::find(place, name)?;
        let lock = lock(&container.lasting())?
            .with_context(|| format!("container {name} is alive"))?;
        container.check_name_is_its_own()?;
        keep_no_more(&container.lasting());
        clear(place, &container.config.id)?;
        Monitor::new(place, container.config, lock, true)
    }

    fn new(
        place: &Place,
        config: Config,
        lock: File,
        is_old: bool,
    ) -> anyhow::Result<Monitor> {
        let dir = place.running(&config.id);
        let made = DirBuilder::new().mode(0o700).create(&dir);
        made.with_context(|| format!("mkdir({dir:?}, 0700)"))?;
        Ok(Monitor {
            place: place.clone(),
            config,
            process: getpid(),
            streams: None,
            helpers: Vec::new(),
            threshold: Some(Threshold::new()?),
            is_old,
            _lock: lock,
        })
    }

    /// Leaves the caller, who goes on at its start, or looks at it.
    fn detach(mut self, looks: Option<&LifeOptions>) -> anyhow::Result<Role> {
        let (hear, told) = sys::pipe2()?;
        let (ours, theirs) = sys::socketpair(SockType::Stream)?;
        let starter = looks.is_some().then_some(theirs);
        let looks = looks.map(|options| (ours, options));
        match process::fork_both()? {
            ForkResult::Parent { child } => {
                drop((told, starter));
                self.let_go(hear, child, looks).map(Role::Caller)
            }
            ForkResult::Child => {
                self.process = getpid();
                drop((hear, looks));
                sys::setsid()?;
                // What others wait for the end of, perhaps.
                process::close_inherited_descriptors()?;
                let screen = self.config.tty.then(|| Screen::new(starter));
                let output = screen.map(|it| it.map(Output::Screen));
                let output = output.unwrap_or_else(Output::pipes)?;
                self.streams = Some(Streams::new(told, output)?);
                Ok(Role::Monitor(Box::new(self)))
            }
        }
    }

    /// In the caller. The monitor has a copy of the lock, and of the duty to
    /// clean up.
    fn let_go(
        mut self,
        hear: OwnedFd,
        monitor: Pid,
        looks: Option<(OwnedFd, &LifeOptions)>,
    ) -> anyhow::Result<ExitCode> {
        self.process = monitor;
        let id = self.config.id.clone();
        drop(self);
        let open = |(stream, options): (OwnedFd, &LifeOptions)| {
            let keys = options.detach_keys.clone().unwrap_or_default();
            Console::open_shared(stream, options.interactive, &keys)
        };
        let console = looks.map(open).transpose()?;
        if !wait_for_start(hear)? {
            // It has said why.
            return Ok(process::wait(monitor)?.into());
        }
        match console.map(Console::wait).transpose()? {
            None => writeln!(io::stdout(), "{id}").context("write(1)")?,
            Some(Over::Detached) => {}
            // It ends with us, or has ended.
            Some(Over::End | Over::HungUp) => {
                return Ok(process::wait(monitor)?.into());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
