//! The way out of a container: rules, and forwarding, which is on only while they
//! stand.

use std::os::fd::{BorrowedFd, RawFd};

use crate::{
    bridge::Bridge,
    cables::say,
    forwarding::{Forwarding, Version},
    nat::Nat,
    place::lock,
    tables,
    veth::Cable,
};

/// The rules for all cables of a container. It leads out by the first one.
pub(crate) struct WayOut {
    cables: Vec<Cable>,
    bridges: Vec<Bridge>,
    v4: Forwarding,
    v6: Forwarding,
    rules: Vec<Nat>,
}

impl WayOut {
    /// Sets up the rules. Nothing is forwarded yet: what forwards is never
    /// without them.
    pub(crate) fn set_up(
        cables: &[Cable],
        bridges: &[Bridge],
    ) -> anyhow::Result<WayOut> {
        let v4 = Forwarding::plan(Version::V4)?;
        let v6 = Forwarding::plan(Version::V6)?;
        let rules = cables.iter().zip(bridges);
        let rules = rules
            .map(|(cable, bridge)| Nat::set_up(cable, bridge, &[&v4, &v6]));
        let rules = rules.collect::<anyhow::Result<_>>()?;
        Ok(WayOut {
            cables: cables.to_vec(),
            bridges: bridges.to_vec(),
            v4,
            v6,
            rules,
        })
    }

    /// Turns forwarding on. Returns whether IPv4 and IPv6 lead out.
    ///
    /// To be called with the [`lock`] held.
    pub(crate) fn turn_on(&self) -> anyhow::Result<[bool; 2]> {
        let bridge = &self.bridges[0];
        let changed = self.v4.turn_on(&bridge.name)?;
        let has_v6 = bridge.subnet.v6.is_some() && !self.v6.ways_out.is_empty();
        let changed6 =
            has_v6.then(|| self.v6.turn_on(&bridge.name).ok()).flatten();
        let leads_out = [true, changed6.is_some()];
        let changed = [changed, changed6.unwrap_or_default()].concat();
        if !changed.is_empty() {
            say(&format!(
                "this machine forwards from and to {:?} until the last \
                 container with a network ends, by {}",
                bridge.name,
                changed.join(" and "),
            ));
        }
        Ok(leads_out)
    }

    /// Tells whose firewall is in the way.
    pub(crate) fn tell_of_firewalls(&self) {
        let name = &self.bridges[0].name;
        if let Some(text) = self.rules[0].firewall.warning(name) {
            say(&text);
        }
    }

    /// For poll(2): what hangs up when the owner of rules ends.
    pub(crate) fn ends(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rules.iter().map(Nat::end)
    }

    /// All that it has open.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = RawFd> {
        self.rules.iter().flat_map(Nat::numbers)
    }

    /// Makes the rules once more whose owner was killed. Until they stand again,
    /// the cables that they were for are off: a machine may forward for other
    /// reasons than ours, and for others.
    ///
    /// # Errors
    /// There can be none any more: then these cables stay off. Nothing is
    /// forwarded from now on, unless another container's rules stand.
    pub(crate) fn renew(&mut self) -> anyhow::Result<()> {
        let ended = self.rules.iter().map(Nat::has_ended);
        let ended: Vec<bool> = ended.collect();
        let all = || self.cables.iter().zip(&ended);
        let open = || all().filter(|(_, ended)| **ended).map(|(it, _)| it);
        // At once: who has the lock may take his time.
        open().try_for_each(|it| it.turn(false))?;
        let _lock = lock()?;
        if !tables::stand_besides(open()) {
            self.v4.turn_off()?;
            self.v6.turn_off()?;
        }
        let both = [&self.v4, &self.v6];
        let rules = self.rules.iter_mut().zip(&ended);
        let cables = self.cables.iter().zip(&self.bridges);
        for ((nat, ended), (cable, bridge)) in rules.zip(cables) {
            if *ended {
                tables::await_end(&cable.outside());
                *nat = Nat::set_up(cable, bridge, &both)?;
            }
        }
        self.turn_on()?;
        Ok(open().try_for_each(|it| it.turn(true))?)
    }

    /// Lets go of the rules that this process has made.
    pub(crate) fn let_go(&mut self) {
        self.rules.clear();
    }
}
