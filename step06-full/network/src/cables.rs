//! All that root's container has: cables to bridges, addresses, names, and the
//! way out.

use anyhow::ensure;
use common::{errors, process::Stat};
use nix::unistd::Pid;

use crate::{
    addresses::{Directory, Lease},
    bridge::Bridge,
    forwarding::Version,
    keeper::Keeper,
    names::Hosts,
    place::lock,
    sweep::sweep,
    veth::Cable,
    way_out::WayOut,
};

pub(crate) struct Cables {
    pub(crate) cables: Vec<Cable>,
    /// Whether IPv4 and IPv6 lead out, through the first one.
    pub(crate) leads_out: [bool; 2],
    pub(crate) hosts: Hosts,
    // In this order they are dropped: the keeper puts forwarding back while the
    // rules still stand.
    keeper: Keeper,
    way_out: Option<Box<WayOut>>,
    leases: Vec<Lease>,
    names: String,
}

/// One line.
pub(crate) fn say(text: &str) {
    errors::warning(&anyhow::anyhow!("{text}"));
}

impl Cables {
    /// Makes it ready, for these `networks`. The container has these `names`,
    /// with a space between them.
    pub(crate) fn prepare(
        networks: &[&str],
        names: &str,
    ) -> anyhow::Result<Cables> {
        // The bridge, and the address on it, are found by one at a time.
        let lock = lock()?;
        let _ = sweep();
        let (mut bridges, mut leases, mut cables) = (vec![], vec![], vec![]);
        for (nth, name) in networks.iter().enumerate() {
            let directory = Directory::open(name)?;
            let lease = directory.lease()?;
            let bridge = Bridge::find_or_make(name)?;
            cables.push(Cable::new(&bridge, lease.number, nth));
            lease.say(names, None)?;
            bridges.push(bridge);
            leases.push(lease);
        }
        let hosts = Hosts::new(names, &cables[0])?;
        hosts.write(&cables)?;
        let mut way_out = WayOut::set_up(&cables, &bridges);
        // From here on there is somebody who cleans up.
        let way = way_out.as_mut().ok();
        let keeper = Keeper::start(&cables, &leases, &hosts, way)?;
        let (way_out, leads_out) = match way_out {
            Ok(way) => open(way),
            Err(error) => (None, Err(error)),
        };
        let leads_out = leads_out.or_else(|it| without(it, &bridges[0].name));
        // The keeper may need it, if this is an error.
        drop(lock);
        let leads_out = leads_out?;
        Ok(Cables {
            cables,
            leads_out,
            hosts,
            keeper,
            way_out: way_out.map(Box::new),
            leases,
            names: names.into(),
        })
    }

    /// Lays them, to the process `container`, and writes down who that is.
    pub(crate) fn plug_in(&self, container: Pid) -> anyhow::Result<()> {
        for (cable, lease) in self.cables.iter().zip(&self.leases) {
            cable.plug_in(container)?;
            let born = Stat::read(&container.to_string());
            let born = born.map_or(0, |it| it.start_time);
            lease.say(&self.names, Some((container, born)))?;
        }
        Ok(())
    }

    /// Starts another keeper, if somebody has killed ours: the rules that it has
    /// made are gone with it.
    pub(crate) fn look_after(&mut self) {
        if !self.keeper.was_killed() {
            return;
        }
        say(
            "the keeper of the container's network was killed: another one \
             takes its place",
        );
        let way = self.way_out.as_deref_mut();
        let started = self.keeper.start_again(&self.leases, &self.hosts, way);
        if let Err(error) = started {
            errors::warning(&error.context("starting another keeper"));
        }
    }
}

/// Whether IPv4 and IPv6 lead out.
type LeadsOut = anyhow::Result<[bool; 2]>;

/// Opens the way out, by IPv4 and by IPv6, as far as it goes: through the first
/// of the networks. The others get the rules that keep strangers away. These
/// stand in any case.
fn open(way: WayOut) -> (Option<WayOut>, LeadsOut) {
    let leads_out = way.turn_on();
    if leads_out.is_ok() {
        way.tell_of_firewalls();
    }
    (Some(way), leads_out)
}

/// Without a way out the container of the network `name` is no less closed: it is
/// told, and no error.
///
/// # Errors
/// There can be no rules, and the host forwards to everybody: then others would
/// reach the container.
fn without(error: anyhow::Error, name: &str) -> LeadsOut {
    ensure!(
        !Version::V4.is_on() && !Version::V6.is_on(),
        error.context(format!(
            "this machine is a router (net.ipv4.ip_forward), and there are no \
             rules that keep others out of the network {name:?}"
        ))
    );
    errors::warning(&error.context(format!("network {name:?} has no way out")));
    Ok([false; 2])
}
