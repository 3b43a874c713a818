//! The container's process, from its birth to the gate at which it waits to be
//! started. It has step 6's order, and the file's lists.

use std::{
    convert::Infallible,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
};

use anyhow::Context;
use common::{
    process::{self, close_own_descriptors},
    sys,
};
use nix::{
    sched::CloneFlags,
    sys::{personality::Persona, socket::MsgFlags},
};
use step06_full::{
    inheritance, namespaces::hide_cgroup_path, network, volumes::open_or_create,
};

use crate::{
    cgroup::Cgroup,
    clocks,
    command::Command,
    config::Config,
    devices, hooks,
    mounts::{self, Prepared},
    namespaces::Namespaces,
    places, protect, shared_mounts,
    state::{State, Status},
    sysctl, talk, terminal, user_ids,
};

/// The future root, once we are there: no path leads to it any more that others
/// could close, or change.
const HERE: &str = "/proc/self/cwd";

/// All that was prepared outside.
pub(crate) struct Container<'a> {
    pub(crate) config: &'a Config,
    pub(crate) state: &'a State,
    pub(crate) root: PathBuf,
    pub(crate) namespaces: Namespaces,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) command: Command<'a>,
    pub(crate) persona: Option<Persona>,
    /// Those of the runtime, which settings must not change.
    pub(crate) ours: sysctl::Ours,
    /// Where `start` knocks.
    pub(crate) gate: OwnedFd,
    pub(crate) console: Option<UnixStream>,
    pub(crate) keeps_keyring: bool,
    pub(crate) no_pivot: bool,
}

impl Container<'_> {
    /// The new process. It says to the runtime how far it is, and why it fails:
    /// never on standard error, which is the container's.
    pub(crate) fn run(
        &self,
        talk: &talk::New,
        mounts: Vec<Prepared>,
    ) -> anyhow::Result<Infallible> {
        let ready = self
            .prepare(talk, mounts)
            .and_then(|()| self.command.prepare());
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => talk.fail(&error),
        };
        talk.say(&talk::Said::Ready)?;
        let started = sys::accept(&self.gate)?;
        let become_command = || {
            let hooks = &self.config.hooks.start_container;
            self.run_hooks(hooks, "startContainer", Status::Created)?;
            self.command.exec(&ready, &started)
        };
        let Err(error) = become_command();
        // `start` reads the reason.
        let text = format!("{error:#}");
        let _ = sys::send(&started, text.as_bytes(), MsgFlags::MSG_NOSIGNAL);
        process::exit(1)
    }

    /// From the namespaces to the root.
    fn prepare(
        &self,
        talk: &talk::New,
        mounts: Vec<Prepared>,
    ) -> anyhow::Result<()> {
        talk.is_mine()?;
        self.cgroup.enter()?;
        places::set_memory_policy(&self.config.linux)?;
        // The runtime maps the ids.
        talk.wait()?;
        if self.namespaces.has_joined() {
            // It was made by one that leads a session; so must this one.
            sys::setsid()?;
        }
        // Before the first mount: it must not be the host's.
        let shared = shared_mounts::leave(&self.namespaces)?;
        let mounts = self.find_root(mounts)?;
        clocks::shift(&self.config.linux)?;
        if self.namespaces.other_user() {
            user_ids::become_root()?;
        }
        self.leave_behind()?;
        self.name()?;
        // With it go the descriptors of the sources.
        self.fill_root(talk, mounts)?;
        let mut kept = self.kept(talk);
        kept.extend(shared.as_ref().map(AsRawFd::as_raw_fd));
        // From here on we look at what the image's maker has made.
        close_own_descriptors(&kept)?;
        match self.no_pivot {
            true => shared_mounts::cover_root(Path::new(HERE))?,
            false => step03_mount::enter_root(Path::new(HERE))?,
        }
        mounts::propagate_root(&self.config.linux.rootfs_propagation)?;
        self.make_terminal()?;
        if self.config.root.as_ref().is_some_and(|it| it.readonly) {
            protect::make_root_read_only(Path::new("/"))?;
        }
        match shared {
            Some(left) => shared_mounts::go_back(&left),
            None => Ok(()),
        }
    }

    /// Goes to the future root, still as who the caller is outside: the way to
    /// it, or to a source of a mount, may be closed to the container's root.
    fn find_root(
        &self,
        mut mounts: Vec<Prepared>,
    ) -> anyhow::Result<Vec<Prepared>> {
        for mount in &mut mounts {
            mount.fetch_rest()?;
        }
        step03_mount::make_private()?;
        let root = &self.root;
        step03_mount::mount_root(root)?;
        sys::chdir(root).context("going to root.path")?;
        Ok(mounts)
    }

    /// Nothing of the caller's comes along.
    fn leave_behind(&self) -> anyhow::Result<()> {
        inheritance::refuse_directories()?;
        inheritance::close_descriptors_at_exec()?;
        inheritance::reset_signals()?;
        sys::personality(self.persona.unwrap_or(Persona::empty()))?;
        // Modes are those of the file until the command has its own.
        sys::umask(0);
        if !self.keeps_keyring {
            inheritance::join_new_session_keyring()?;
        }
        inheritance::hide_command_line();
        Ok(())
    }

    /// What belongs to namespaces other than that of mounts.
    fn name(&self) -> anyhow::Result<()> {
        let config = self.config;
        let new = self.namespaces.new;
        if new.contains(CloneFlags::CLONE_NEWCGROUP) {
            hide_cgroup_path()?;
        }
        if new.contains(CloneFlags::CLONE_NEWNET) {
            network::loopback_up()?;
        }
        let given = |name: &Option<String>| {
            name.clone().filter(|name| !name.is_empty())
        };
        if let Some(name) = given(&config.hostname) {
            self.ours.check_own("uts").context("naming the container")?;
            step01_uts::set_hostname(&name)?;
        }
        if let Some(name) = given(&config.domainname) {
            self.ours
                .check_own("uts")
                .context("setting the domain name")?;
            sys::setdomainname(&name).context("setting the domain name")?;
        }
        // By the host's /proc, as long as that is the one that is there.
        self.ours.set(&config.linux.sysctl)
    }

    /// The root file system, before it is the root.
    fn fill_root(
        &self,
        talk: &talk::New,
        mounts: Vec<Prepared>,
    ) -> anyhow::Result<()> {
        let (config, root) = (self.config, Path::new(HERE));
        for mount in &mounts {
            mount.mount(root, self.cgroup, &config.linux.mount_label)?;
        }
        // Somebody else's whole /dev is theirs.
        if !mounts.iter().any(Prepared::binds_dev) {
            devices::make(root, &config.linux.devices)?;
        }
        let cwd = Path::new(&self.command.process.cwd);
        // If it can't be made, going there will say why.
        let _ = open_or_create(root, cwd, true);

        talk.say(&talk::Said::Mounted)?;
        talk.wait()?;
        let hooks = &config.hooks.create_container;
        self.run_hooks(hooks, "createContainer", Status::Creating)?;

        protect::mask(root, &config.linux.masked_paths)?;
        protect::make_read_only(root, &config.linux.readonly_paths)
    }

    /// In the container the process has another number.
    fn run_hooks(
        &self,
        hooks: &[crate::config::Hook],
        name: &str,
        status: Status,
    ) -> anyhow::Result<()> {
        if hooks.is_empty() {
            return Ok(());
        }
        let state = State {
            pid: nix::unistd::getpid().as_raw(),
            ..self.state.clone()
        };
        hooks::run(hooks, name, &state, status)
    }

    fn make_terminal(&self) -> anyhow::Result<()> {
        match &self.console {
            Some(socket) => terminal::make(socket, self.command.process, true),
            None => Ok(()),
        }
    }

    fn kept(&self, talk: &talk::New) -> Vec<i32> {
        let mut kept = self.command.kept();
        kept.extend([talk.number(), self.gate.as_raw_fd()]);
        kept.extend(self.console.as_ref().map(AsRawFd::as_raw_fd));
        kept
    }
}
