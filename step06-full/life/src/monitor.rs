//! The parent that stays.

use std::{fs::File, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use common::{Child, Workload, errors, sys};
use nix::{
    libc::{STDERR_FILENO, STDIN_FILENO, STDOUT_FILENO},
    unistd::{Pid, getpid},
};
use step04_cgroups::Cgroup;

use crate::{
    Instant, Namespaces, Place, boot,
    helper::Helper,
    kept::{LAYER, MESSAGES},
    pump,
    record::{self, Config, LAST, Last, Process, STATE, State},
    remove::discard,
    restart::is_kept,
    screen, server,
    streams::Streams,
    sweep::clear,
    threshold::Threshold,
    wait::write_code,
};

/// How long the rest of the output may take, when all processes are gone.
const A_MOMENT: Duration = Duration::from_secs(2);

/// The parent that stays. Dropped, it is the end of the container's life.
pub struct Monitor {
    pub(crate) place: Place,
    pub(crate) config: Config,
    /// Us: a copy of this in another process does nothing at its end.
    pub(crate) process: Pid,
    pub(crate) streams: Option<Streams>,
    pub(crate) helpers: Vec<Helper>,
    /// Until the container's process has it.
    pub(crate) threshold: Option<Threshold>,
    /// It was started before.
    pub(crate) is_old: bool,
    /// Open, and locked until it is closed.
    pub(crate) _lock: File,
}

impl Monitor {
    /// What people call it, if somebody has given it a name.
    pub fn name(&self) -> Option<&str> {
        let name = &self.config.name;
        (*name != self.config.id[..12]).then_some(name)
    }

    /// Where what the container writes is kept, if it is: as with step 5's
    /// `--upper`.
    pub fn upper(&self) -> Option<PathBuf> {
        let is_kept = self.name().is_some() || self.config.detached;
        is_kept.then(|| self.place.lasting(&self.config.name).join(LAYER))
    }

    /// In the container's process, when all else is prepared: gives it standard
    /// streams of its own, if it runs in the background. What is printed from
    /// here on is in its log. From here on it can be entered, too.
    pub fn take_streams(&self, workload: Workload) -> anyhow::Result<Workload> {
        if let Some(threshold) = &self.threshold {
            threshold.cross()?;
        }
        match &self.streams {
            Some(streams) => streams.take(workload),
            None => Ok(workload),
        }
    }

    /// To be called when `child` waits at its gate, and all else is prepared:
    /// opens its namespaces, starts the helpers, writes down what there is.
    ///
    /// From here on a monitor in the background has nothing of its caller's.
    pub fn started(
        &mut self,
        child: &Child,
        cgroup: &Cgroup,
        capabilities: &[u32],
        ports: Vec<String>,
    ) -> anyhow::Result<()> {
        let dir = self.place.running(&self.config.id);
        let socket = server::listen(&dir)?;
        let namespaces = Namespaces::open(child.pid())?;
        let crossed = self.threshold.take().context("it has begun")?.watch();
        self.helpers
            .push(server::helper(socket, namespaces, crossed)?);
        let streams = self.streams.take();
        if let Some(streams) = &streams {
            streams.give_to(child.pid())?;
        }
        let directories = cgroup.directories();
        let state = State {
            monitor: Process::of(self.process)?,
            init: Process::of(child.pid())?,
            cgroups: directories.map(|(path, _)| path.to_owned()).collect(),
            capabilities: capabilities.to_vec(),
            ports,
        };
        record::write(&dir, STATE, &state)?;
        let lasting = self.place.lasting(&self.config.name);
        write_code(&lasting, None)?;
        self.write_last(Last {
            started: Instant::now(),
            boot: boot::id(),
            ended: None,
        })?;
        // Last of all: until here the caller is told what goes wrong.
        if let Some(streams) = streams {
            pump::create_log(&lasting)?;
            self.leave(&streams)?;
            self.helpers.push(match streams.into_output() {
                Ok(ends) => pump::helper(ends, lasting)?,
                Err(screen) => {
                    let init = sys::pidfd_open(child.pid())?;
                    let viewers = server::listen_as(&dir, screen::SOCKET)?;
                    screen.helper(init, viewers, lasting)?
                }
            });
        }
        Ok(())
    }

    /// Lets go of what the caller has given us: its terminal, its pipes, and
    /// its directory, which could not be unmounted.
    fn leave(&self, streams: &Streams) -> anyhow::Result<()> {
        let path = self.place.lasting(&self.config.name).join(MESSAGES);
        let messages = record::create(&path)
            .with_context(|| format!("open({path:?}, O_CREAT)"))?;
        sys::dup2_standard(streams.null(), STDIN_FILENO)?;
        sys::dup2_standard(&messages, STDOUT_FILENO)?;
        sys::dup2_standard(&messages, STDERR_FILENO)?;
        Ok(sys::chdir("/")?)
    }

    /// Waits for the container's end, and writes it down. Whenever a child may
    /// have ended that is not ours, `look_after_others` is called.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait(
        &mut self,
        child: Child,
        mut look_after_others: impl FnMut(),
    ) -> anyhow::Result<ExitCode> {
        let code = child.wait_and(|| {
            look_after_others();
            self.helpers.iter_mut().try_for_each(Helper::look_after)
        })?;
        // The pump ends by itself, unless somebody on the host has got hold of
        // the container's output. The server would go on.
        for helper in self.helpers.drain(..).skip(1) {
            helper.wait(A_MOMENT)?;
        }
        let number = (0..=u8::MAX).find(|it| ExitCode::from(*it) == code);
        let number = number.context("an exit code has eight bits")?;
        let lasting = self.place.lasting(&self.config.name);
        let last: Option<Last> = record::read(&lasting, LAST)?;
        if let Some(last) = last {
            // Of a container that is removed nobody reads more than this.
            let kept = write_code(&lasting, Some(number));
            if let Err(error) = kept {
                errors::warning(&error);
            }
            self.write_last(Last {
                ended: Some((Instant::now(), number)),
                ..last
            })?;
        }
        Ok(code)
    }

    fn write_last(&self, last: Last) -> anyhow::Result<()> {
        record::write(&self.place.lasting(&self.config.name), LAST, &last)
    }

    /// Removes what ends with the container; and all of it, if that was asked
    /// for, or if it has never begun.
    fn end(&mut self) -> anyhow::Result<()> {
        self.helpers.clear();
        let lasting = self.place.lasting(&self.config.name);
        clear(&self.place, &self.config.id)?;
        let has_begun = lasting.join(LAST).exists();
        let is_over = self.config.remove && !is_kept(&lasting);
        match is_over || !has_begun && !self.is_old {
            true => discard(&self.place, &self.config.name, &self.config.id),
            false => Ok(()),
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // The container's process, and whoever has started us, have a copy.
        if getpid() != self.process {
            return;
        }
        if let Err(error) = self.end() {
            errors::warning(&error.context("removing what has ended"));
        }
    }
}
