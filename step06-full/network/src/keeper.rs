//! A process beside each container with a network: it writes the container's
//! `/etc/hosts`, and cleans up behind it.
//!
//! It is a child of the container's parent, and holds the end of a pipe the
//! other end of which only the parent has. Whatever ends the parent, SIGKILL
//! too, that end is closed, and the keeper knows that it is its turn. If the
//! keeper is killed instead, the parent starts another one. What is left when
//! both are, the next container of any network removes.
//!
//! It also looks after the rules of the way out, whose owner may be killed, too.
//! Those that it has made again itself end with it: the next keeper makes them.

use std::{
    convert::Infallible,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::{AtomicI32, Ordering},
};

use anyhow::Context;
use common::{
    errors::{self, Message},
    process::{self, Change, signals},
    sys,
};
use libc::{STDERR_FILENO, STDIN_FILENO};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
    unistd::{Pid, getpid, getppid},
};

use crate::{
    addresses::{Directory, Lease},
    cables::say,
    names::Hosts,
    sweep::{leave, tell},
    veth::Cable,
    way_out::WayOut,
};

/// The keeper, as the container's parent has it. Its work begins when this is
/// dropped.
pub(crate) struct Keeper {
    pid: Pid,
    /// The end of the pipe that is closed when we are gone.
    alive: Option<OwnedFd>,
    cables: Vec<Cable>,
}

impl Keeper {
    /// Starts it. It has the addresses as long as we have them, or longer.
    pub(crate) fn start(
        cables: &[Cable],
        leases: &[Lease],
        hosts: &Hosts,
        way_out: Option<&mut WayOut>,
    ) -> anyhow::Result<Keeper> {
        let (pid, alive) = start(cables, leases, hosts, way_out)?;
        let (alive, cables) = (Some(alive), cables.to_vec());
        Ok(Keeper { pid, alive, cables })
    }

    /// Whether it was killed since we have asked last. One that has ended by
    /// itself has said why, and the next one would do the same.
    pub(crate) fn was_killed(&self) -> bool {
        match process::reap(Some(self.pid)) {
            Ok(Some((_, Change::Ended(end)))) => end.code() > 128,
            _ => false,
        }
    }

    /// Starts another one in the place of one that was killed.
    pub(crate) fn start_again(
        &mut self,
        leases: &[Lease],
        hosts: &Hosts,
        way_out: Option<&mut WayOut>,
    ) -> anyhow::Result<()> {
        let (pid, alive) = start(&self.cables, leases, hosts, way_out)?;
        (self.pid, self.alive) = (pid, Some(alive));
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.alive = None;
        if !matches!(process::wait(self.pid), Ok(0)) {
            // It was killed, or has said why not.
            leave(&self.cables);
        }
    }
}

fn start(
    cables: &[Cable],
    leases: &[Lease],
    hosts: &Hosts,
    way_out: Option<&mut WayOut>,
) -> anyhow::Result<(Pid, OwnedFd)> {
    let (theirs, ours) = sys::pipe2()?;
    PARENT.store(getpid().as_raw(), Ordering::Relaxed);
    let pid = process::fork(|| {
        // Or we would wait for ourselves.
        sys::close(ours.as_raw_fd())?;
        become_keeper(&theirs, leases, hosts, way_out.as_deref())?;
        keep(&theirs, cables, hosts, way_out)
    })?;
    Ok((pid, ours))
}

/// Lets go of everything that is not its business: the terminal and its
/// signals, the standard streams, the descriptors, and the directory, which could
/// not be unmounted. Somebody may wait for the end of what a container in the
/// background has got from its caller.
fn become_keeper(
    alive: &OwnedFd,
    leases: &[Lease],
    hosts: &Hosts,
    way_out: Option<&WayOut>,
) -> anyhow::Result<()> {
    sys::setsid()?;
    signals::block()?;
    let mut kept = vec![alive.as_raw_fd(), hosts.file().as_raw_fd()];
    kept.extend(leases.iter().map(Lease::number_of_lock));
    kept.extend(way_out.iter().flat_map(|it| it.numbers()));
    process::close_own_descriptors(&kept)?;
    process::lead_to_null(STDIN_FILENO..=STDERR_FILENO)?;
    errors::hand_to(tell_where_the_parent_does);
    Ok(sys::chdir("/")?)
}

/// Where that is changes, when a container in the background leaves its caller.
/// When the parent is no more, there is nobody to be told.
fn tell_where_the_parent_does(message: Message) {
    // Not of a pipe that nobody reads from: it would wait for that.
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK;
    let parent = PARENT.load(Ordering::Relaxed);
    let path = format!("/proc/{parent}/fd/{STDERR_FILENO}");
    if getppid().as_raw() != parent {
        return;
    }
    // A failure to print has nowhere left to go.
    if let Ok(theirs) = sys::open(path, flags | OFlag::O_NOCTTY, 0)
        && sys::dup2_standard(theirs, STDERR_FILENO).is_ok()
    {
        errors::print(message);
        let _ = process::lead_to_null([STDERR_FILENO]);
    }
}

/// The container's parent, for its keeper.
static PARENT: AtomicI32 = AtomicI32::new(0);

/// The keeper's life.
fn keep(
    alive: &OwnedFd,
    cables: &[Cable],
    hosts: &Hosts,
    mut way_out: Option<&mut WayOut>,
) -> anyhow::Result<Infallible> {
    // A user has a hundred of them or so (fs.inotify.max_user_instances). The next
    // keeper looks by itself, every second.
    let watch = watch(cables).ok();
    let patience = match &watch {
        Some(_) => PollTimeout::NONE,
        None => PollTimeout::from(1000_u16),
    };
    loop {
        // Also if somebody came before we watched.
        hosts.write(cables)?;
        let mut ends = vec![PollFd::new(alive.as_fd(), PollFlags::POLLIN)];
        let watched = watch.as_ref().map(AsFd::as_fd);
        ends.extend(watched.map(|it| PollFd::new(it, PollFlags::POLLIN)));
        let rules = way_out.iter().flat_map(|it| it.ends());
        let first_rule = ends.len();
        ends.extend(rules.map(|it| PollFd::new(it, PollFlags::empty())));
        sys::poll(&mut ends, patience)?;
        let hung_up =
            |it: &PollFd| it.revents().is_some_and(|it| !it.is_empty());
        if hung_up(&ends[0]) {
            break;
        }
        if ends[first_rule..].iter().any(hung_up) {
            way_out = way_out.and_then(|it| renew(it, cables));
        }
        match watch.as_ref().map(Inotify::read_events) {
            None | Some(Ok(_) | Err(Errno::EAGAIN)) => {}
            Some(Err(errno)) => return Err(errno).context("read(inotify)"),
        }
    }
    leave(cables);
    // Nothing is forwarded any more: now the rules may go that are ours.
    if let Some(way_out) = way_out {
        way_out.let_go();
    }
    process::exit(0)
}

/// Makes rules once more whose owner was killed. If there can be none, nobody is
/// kept away from the container any more, and its cables are pulled out.
fn renew<'a>(
    way_out: &'a mut WayOut,
    cables: &[Cable],
) -> Option<&'a mut WayOut> {
    say(
        "nft(8) was killed, and with it the rules of the way out: another one \
         makes them again",
    );
    let Err(error) = way_out.renew() else {
        return Some(way_out);
    };
    let networks = cables.iter().map(|it| it.bridge.as_str());
    let networks = networks.collect::<Vec<_>>().join(" and ");
    errors::warning(&error.context(format!(
        "there are no rules of the way out any more: the container is cut off \
         from {networks}"
    )));
    for cable in cables {
        tell(cable.pull_out().map_err(anyhow::Error::from));
    }
    None
}

/// Watches who comes and goes. See inotify(7).
fn watch(cables: &[Cable]) -> anyhow::Result<Inotify> {
    let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
    let watch = Inotify::init(flags).context("inotify_init1(2)")?;
    let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE;
    for cable in cables {
        let directory = Directory::open(&cable.bridge)?;
        watch
            .add_watch(directory.path(), events)
            .context("inotify_add_watch(2)")?;
    }
    Ok(watch)
}
