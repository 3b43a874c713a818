//! All that root's container has: cables to bridges, addresses, names, and the
//! way out.

use anyhow::ensure;
use common::{errors, process::Stat};
use nix::unistd::Pid;

use crate::{
    addresses::{Directory, Lease},
    bridge::Bridge,
    forwarding::{Forwarding, Version},
    keeper::Keeper,
    names::Hosts,
    nat::Nat,
    place::lock,
    sweep::sweep,
    veth::Cable,
};

pub(crate) struct Cables {
    pub(crate) cables: Vec<Cable>,
    /// Whether IPv4 and IPv6 lead out, through the first one.
    pub(crate) leads_out: [bool; 2],
    pub(crate) hosts: Hosts,
    // In this order they are dropped: the keeper puts forwarding back while the
    // rules still stand.
    _keeper: Keeper,
    _rules: Vec<Nat>,
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
        // From here on there is somebody who cleans up.
        let keeper = Keeper::start(&cables, &leases, &hosts)?;
        let rules = way_out(&cables, &bridges);
        // The keeper may need it, if this is an error.
        drop(lock);
        let (rules, leads_out) = rules?;
        Ok(Cables {
            cables,
            leads_out,
            hosts,
            _keeper: keeper,
            _rules: rules,
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
}

/// What stands as long as the container, and whether IPv4 and IPv6 lead out.
type Way = (Vec<Nat>, [bool; 2]);

/// Opens the way out, by IPv4 and by IPv6, as far as it goes: through the first
/// of the networks. The others get the rules that keep strangers away.
///
/// Without it the container is no less closed: it is told, and no error.
///
/// # Errors
/// There can be no rules, and the host forwards to everybody: then others would
/// reach the container.
fn way_out(cables: &[Cable], bridges: &[Bridge]) -> anyhow::Result<Way> {
    let error = match try_way_out(cables, bridges) {
        Ok(way) => return Ok(way),
        Err(error) => error,
    };
    let name = &bridges[0].name;
    ensure!(
        !Version::V4.is_on() && !Version::V6.is_on(),
        error.context(format!(
            "this machine is a router (net.ipv4.ip_forward), and there are no \
             rules that keep others out of the network {name:?}"
        ))
    );
    errors::warning(&error.context(format!("network {name:?} has no way out")));
    Ok((Vec::new(), [false; 2]))
}

fn try_way_out(cables: &[Cable], bridges: &[Bridge]) -> anyhow::Result<Way> {
    let v4 = Forwarding::plan(Version::V4)?;
    let v6 = Forwarding::plan(Version::V6)?;
    // The rules come first: what forwards is never without them.
    let rules = cables.iter().zip(bridges);
    let rules =
        rules.map(|(cable, bridge)| Nat::set_up(cable, bridge, &[&v4, &v6]));
    let rules: Vec<Nat> = rules.collect::<anyhow::Result<_>>()?;
    let bridge = &bridges[0];
    let changed = v4.turn_on(&bridge.name)?;
    let has_v6 = bridge.subnet.v6.is_some() && !v6.ways_out.is_empty();
    let changed6 = has_v6.then(|| v6.turn_on(&bridge.name).ok()).flatten();
    let leads_out = [true, changed6.is_some()];
    let changed = [changed, changed6.unwrap_or_default()].concat();
    if !changed.is_empty() {
        say(&format!(
            "this machine forwards from and to {:?} until the last container \
             with a network ends, by {}",
            bridge.name,
            changed.join(" and "),
        ));
    }
    if let Some(text) = rules[0].firewall.warning(&bridge.name) {
        say(&text);
    }
    Ok((rules, leads_out))
}
