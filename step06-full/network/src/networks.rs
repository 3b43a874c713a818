//! A container's network as `main.rs` has it: chosen before the container's
//! process is made, connected when it is there, and gone when it has ended.

use std::{os::fd::OwnedFd, path::Path};

use anyhow::{Context, bail};
use common::{errors, process, sys};
use nix::{
    sched::CloneFlags,
    unistd::{Pid, geteuid},
};
use step06_full::{names, network::loopback_up, privileges};

use crate::{
    Networks,
    cables::{Cables, say},
    joined,
    names::resolvers,
    options::Wanted,
    user_mode::{self, Program, UserMode},
    veth::allow_ping,
};

/// What a container has.
pub struct Network {
    kind: Kind,
    raw_packets: bool,
    /// The text of `/etc/resolv.conf`, if it is not the image's.
    resolvers: Option<String>,
    user_mode: Option<UserMode>,
}

enum Kind {
    /// Nothing but `lo`.
    Alone,
    /// That of the host.
    Hosts,
    /// Cables to bridges.
    Cables(Cables),
    /// That of another container, with its `/etc/hosts`.
    Joined(OwnedFd),
    /// A program that has sockets.
    UserMode(Program),
}

impl Networks {
    /// Makes ready what the container will be connected to: bridges, addresses,
    /// the way out. Others will call it by its `hostname`, and by the `name`
    /// that people have given to it.
    ///
    /// Parent's side, before the container's process is created.
    ///
    /// # Errors
    /// `none` and `host` don't go with others; a name is that of an interface
    /// that is not ours; what the kernel refuses.
    pub fn prepare(
        &self,
        hostname: &str,
        name: Option<&str>,
    ) -> anyhow::Result<Network> {
        // Neither has a space in it.
        let mut own = vec![hostname];
        own.extend(name.filter(|it| *it != hostname));
        let kind = match self.wanted()? {
            Wanted::Nothing => Kind::Alone,
            Wanted::Host => {
                say("--network host: the container has all interfaces, ports \
                     and loopback servers of this machine");
                Kind::Hosts
            }
            Wanted::Container(name) => Kind::Joined(joined::enter(name)?),
            Wanted::Bridges(names) if geteuid().is_root() => {
                let cables = Cables::prepare(&names, &own.join(" "));
                Kind::Cables(cables.context("making a network")?)
            }
            Wanted::Bridges(names) => without_root(names[0]),
        };
        let resolvers = match &kind {
            Kind::Alone => None,
            Kind::UserMode(Program::Slirp) => {
                Some(format!("nameserver {}\n", user_mode::SLIRPS_RESOLVER))
            }
            Kind::Hosts => std::fs::read_to_string("/etc/resolv.conf").ok(),
            _ => whom_to_ask(),
        };
        Ok(Network {
            kind,
            raw_packets: self.raw_packets,
            resolvers,
            user_mode: None,
        })
    }
}

/// The host's resolvers, or a word about what is missing.
fn whom_to_ask() -> Option<String> {
    let text = resolvers();
    if text.is_none() {
        say(
            "no server of /etc/resolv.conf can be reached by a container: it \
             finds nobody by name but those on its networks",
        );
    }
    text
}

/// What a plain user gets instead of a bridge.
fn without_root(name: &str) -> Kind {
    match Program::find() {
        Some(program) => {
            say(&format!(
                "network {name:?}: only root can make a bridge; there is a way \
                 out by {}, and other containers are not reached",
                program.name()
            ));
            Kind::UserMode(program)
        }
        None => {
            say(&format!(
                "network {name:?}: only root can make a bridge, and neither \
                 slirp4netns nor pasta is installed: there is only the \
                 loopback interface"
            ));
            Kind::Alone
        }
    }
}

impl Network {
    /// The namespace that the container is born with: none, if it has the
    /// host's.
    #[must_use]
    pub fn namespace(&self) -> CloneFlags {
        match self.kind {
            // It is that of its parent, or of whom the parent has joined.
            Kind::Hosts | Kind::Joined(_) => CloneFlags::empty(),
            _ => CloneFlags::CLONE_NEWNET,
        }
    }

    /// Connects the container's process, which waits at its gate.
    ///
    /// Parent's side: only the host can put something into a namespace.
    pub fn connect(&mut self, container: Pid) -> anyhow::Result<()> {
        match &self.kind {
            Kind::Alone | Kind::Hosts | Kind::Joined(_) => {}
            Kind::Cables(it) => {
                it.plug_in(container).context("laying a cable")?
            }
            Kind::UserMode(program) => {
                self.user_mode = Some(program.start(container)?);
            }
        }
        Ok(())
    }

    /// Whenever a child of ours may have ended. Parent's side.
    pub fn look_after(&mut self) {
        if let Kind::Cables(it) = &mut self.kind {
            it.look_after();
        }
    }

    /// Sets up the container's side: addresses and routes, and ping(8) for
    /// everybody.
    ///
    /// In the container, as its root, before it has given up CAP_NET_ADMIN.
    pub fn set_up(&self) -> anyhow::Result<()> {
        if self.is_others() {
            return Ok(());
        }
        loopback_up()?;
        match (allow_ping(), &self.kind) {
            // Nobody is there to be asked.
            (Err(_), Kind::Alone) | (Ok(()), _) => {}
            (Err(error), _) => errors::warning(&error.context("allowing ping")),
        }
        if let Kind::Cables(it) = &self.kind {
            for (nth, cable) in it.cables.iter().enumerate() {
                let leads_out = it.leads_out.map(|leads| leads && nth == 0);
                cable
                    .set_up_inside(leads_out)
                    .context("setting up the container's end of a cable")?;
            }
        }
        Ok(())
    }

    /// Calls `mount`, which mounts a sysfs, where there is a network namespace
    /// that the container may show in it: its own.
    ///
    /// With another one it would be `EPERM`, and show the host's interfaces. Then
    /// a process that is gone at once makes an empty one.
    pub fn with_namespace(
        &self,
        mount: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if !self.is_others() {
            return mount();
        }
        let child = process::fork(|| {
            sys::unshare(CloneFlags::CLONE_NEWNET)?;
            mount()?;
            process::exit(0)
        })?;
        match process::wait(child)? {
            0 => Ok(()),
            code => bail!("a sysfs was to be mounted: exit code {code}"),
        }
    }

    /// Shows `/etc/hosts` and `/etc/resolv.conf` of this network.
    ///
    /// In the container, before [`names::mount_files`], which leaves what is
    /// covered as it is.
    pub fn mount_names(
        &self,
        root: &Path,
        read_only: bool,
    ) -> anyhow::Result<()> {
        let mount = || {
            match &self.kind {
                Kind::Cables(it) => {
                    names::mount_over(root, "hosts", &it.hosts.mount)?;
                }
                Kind::Joined(hosts) => names::mount_over(root, "hosts", hosts)?,
                _ => {}
            }
            let Some(it) = &self.resolvers else {
                return Ok(());
            };
            names::mount_text(root, "resolv.conf", it, read_only)
        };
        mount().context("telling the container the names of others")
    }

    /// Whether the network namespace is somebody else's, over which the
    /// container has no right.
    fn is_others(&self) -> bool {
        matches!(self.kind, Kind::Hosts | Kind::Joined(_))
    }

    /// The capabilities that the container keeps.
    #[must_use]
    pub fn kept(&self) -> Vec<u32> {
        let all = privileges::KEPT.into_iter();
        all.filter(|it| self.raw_packets || *it != sys::CAP_NET_RAW)
            .collect()
    }
}
