//! Moving interfaces that there are into another network namespace, as
//! `ip link set NAME netns NAMESPACE` does, with what it has.
//!
//! An interface is in one namespace only. In another one it is the same, with
//! the same hardware address and size of packets, but it is turned off, and has
//! lost its addresses: they are the namespace's. So they are looked up before,
//! and given to it again. Its routes are not: where they lead to is not there.
//! See network_namespaces(7).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::Context;
use common::{errors, sys};
use libc::{
    IFA_ADDRESS, IFA_BROADCAST, IFA_F_PERMANENT, IFA_FLAGS, IFA_LOCAL, IFF_UP,
    IFLA_IFNAME, IFLA_NET_NS_FD, RTM_GETADDR, RTM_GETLINK, RTM_NEWADDR,
    RTM_NEWLINK,
};
use nix::{errno::Errno, fcntl::OFlag, sched::CloneFlags};

use crate::{
    free_name::free_name,
    netlink::{NEW, Netlink, Request, attributes, link, number},
};

/// An interface as it is in one namespace.
struct Link {
    index: u32,
    name: String,
    is_on: bool,
}

/// An interface that is going to be moved, and what it will be called.
struct Move {
    before: Link,
    addresses: Vec<Vec<u8>>,
    new_name: String,
}

/// Moves interfaces of our network namespace into `namespace`, and turns them on:
/// each pair is what it is called here, and there. If a `%d` is in a name, it
/// becomes the first number that makes a name which is free.
///
/// All are moved or none: what can be known before is looked at before, and if a
/// later one can't be moved, the earlier ones come back, with their addresses.
///
/// # Errors
/// There is no such interface, or a name is taken. `EPERM` without CAP_NET_ADMIN
/// in both; `EINVAL` for one that can't be moved, such as `lo`.
pub fn move_all(
    wanted: &[(&str, &str)],
    namespace: impl AsFd,
) -> anyhow::Result<()> {
    let ours = open_ours()?;
    let (here, there) = (Netlink::open()?, open_in(&namespace)?);
    let moves = plan(&here, &there, wanted)?;
    let mut moved = 0;
    let done = moves.iter().try_for_each(|it| {
        let carried =
            here.carry(it.before.index, namespace.as_fd(), &it.new_name);
        let settled = carried.map_err(anyhow::Error::from).and_then(|()| {
            moved += 1;
            there.settle(&it.new_name, &it.addresses, true)
        });
        settled.with_context(|| format!("moving {:?}", it.before.name))
    });
    if done.is_err() {
        for it in &moves[..moved] {
            if let Err(error) = it.come_back(&there, &here, &ours) {
                let aim = format!("moving {:?} back", it.before.name);
                errors::warning(&error.context(aim));
            }
        }
    }
    done
}

/// Looks all of them up. A name that one gets is taken for the next.
fn plan(
    here: &Netlink,
    there: &Netlink,
    wanted: &[(&str, &str)],
) -> anyhow::Result<Vec<Move>> {
    let names = there.links()?.into_iter().map(|it| it.name);
    let mut taken: Vec<String> = names.collect();
    let mut moves = Vec::new();
    for (name, new_name) in wanted {
        let planned = Move::plan(here, name, new_name, &taken);
        let planned = planned.with_context(|| format!("moving {name:?}"))?;
        taken.push(planned.new_name.clone());
        moves.push(planned);
    }
    Ok(moves)
}

impl Move {
    fn plan(
        here: &Netlink,
        name: &str,
        new_name: &str,
        taken: &[String],
    ) -> anyhow::Result<Move> {
        let before = here.find(name)?.context("there is no such interface")?;
        Ok(Move {
            addresses: here.addresses_of(before.index)?,
            before,
            new_name: free_name(new_name, taken)?,
        })
    }

    /// Makes it as it was, but for its routes.
    fn come_back(
        &self,
        there: &Netlink,
        here: &Netlink,
        ours: &OwnedFd,
    ) -> anyhow::Result<()> {
        let Link { name, is_on, .. } = &self.before;
        let found = there.find(&self.new_name)?;
        let index = found.context("it is gone")?.index;
        there.carry(index, ours.as_fd(), name)?;
        here.settle(name, &self.addresses, *is_on)
    }
}

fn open_ours() -> sys::Result<OwnedFd> {
    sys::open("/proc/self/ns/net", OFlag::O_RDONLY, 0)
}

/// Opens a socket that speaks for `namespace`, which we are in for a moment.
fn open_in(namespace: impl AsFd) -> sys::Result<Netlink> {
    let ours = open_ours()?;
    sys::setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let opened = Netlink::open();
    sys::setns(ours, CloneFlags::CLONE_NEWNET)?;
    opened
}

impl Netlink {
    /// All interfaces.
    fn links(&self) -> sys::Result<Vec<Link>> {
        let text = "RTM_GETLINK".into();
        let request = Request::new(RTM_GETLINK, 0, &link(0, 0), text);
        let read = |body: &Vec<u8>| {
            let mut all = attributes(body.get(16..)?);
            let (_, name) = all.find(|(kind, _)| *kind == IFLA_IFNAME)?;
            let name = String::from_utf8_lossy(name);
            // struct ifinfomsg: family, type, index, flags.
            Some(Link {
                index: number(&body[4..]),
                name: name.trim_end_matches('\0').into(),
                is_on: number(&body[8..]).cast_signed() & IFF_UP != 0,
            })
        };
        Ok(self.list(request)?.iter().filter_map(read).collect())
    }

    fn find(&self, name: &str) -> sys::Result<Option<Link>> {
        let mut links = self.links()?.into_iter();
        Ok(links.find(|it| it.name == name))
    }

    /// Moves an interface from where this socket speaks.
    fn carry(
        &self,
        index: u32,
        namespace: BorrowedFd,
        new_name: &str,
    ) -> sys::Result<()> {
        let fd = namespace.as_raw_fd();
        let text = format!("RTM_NEWLINK({new_name:?}, namespace {fd})");
        let request = Request::new(RTM_NEWLINK, 0, &link(index, 0), text)
            .attribute(IFLA_NET_NS_FD, &fd.to_ne_bytes())
            .string(IFLA_IFNAME, new_name);
        self.ask(request)
    }

    /// Gives one that has just come its addresses, and turns it on.
    fn settle(
        &self,
        name: &str,
        addresses: &[Vec<u8>],
        is_on: bool,
    ) -> anyhow::Result<()> {
        // The number may be another one here.
        let found = self.find(name)?;
        let found = found.context("it has got another name meanwhile")?;
        for address in addresses {
            self.give(found.index, address)?;
        }
        match is_on {
            true => Ok(self.turn_on(found.index, name)?),
            false => Ok(()),
        }
    }

    /// The addresses of the interface that everybody may know, and that stay: as
    /// the kernel tells them.
    fn addresses_of(&self, index: u32) -> sys::Result<Vec<Vec<u8>>> {
        let text = "RTM_GETADDR".into();
        let mut all = self.list(Request::new(RTM_GETADDR, 0, &[0; 8], text))?;
        all.retain(|body| {
            let scope = body.get(3).copied();
            let its = number(body.get(4..).unwrap_or_default());
            let mut flags = attributes(body.get(8..).unwrap_or_default())
                .filter(|(kind, _)| *kind == IFA_FLAGS)
                .map(|(_, flags)| number(flags));
            scope == Some(libc::RT_SCOPE_UNIVERSE)
                && its == index
                && flags.any(|it| it & IFA_F_PERMANENT != 0)
        });
        Ok(all)
    }

    /// Gives the interface an address that another one has had.
    fn give(&self, index: u32, address: &[u8]) -> anyhow::Result<()> {
        // struct ifaddrmsg: family, length of the prefix, flags, scope, index.
        let mut body = address[..8].to_vec();
        body[4..].copy_from_slice(&index.to_ne_bytes());
        let text = format!("RTM_NEWADDR(interface {index})");
        let mut request = Request::new(RTM_NEWADDR, NEW, &body, text);
        for (kind, value) in attributes(&address[8..]) {
            // Not what it was called, for example.
            let kept = [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS];
            if kept.contains(&kind) {
                request = request.attribute(kind, value);
            }
        }
        match self.ask(request) {
            Err(error) if error.errno == Errno::EEXIST => Ok(()),
            given => Ok(given?),
        }
    }
}
