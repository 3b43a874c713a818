//! The way out: what leaves the host carries the host's address, since nobody
//! out there knows the way to ours.
//!
//! The rules are in a table of nftables that has an *owner*: the process that
//! has made it. Nobody else may change it, and when the process ends, be it by
//! SIGKILL, the table is gone with all that is in it. So it is a table for each
//! container, made by a process that ends with the container, and there is
//! nothing to clean up. If somebody kills that process, the keeper makes another
//! one, and if somebody kills the keeper, which ends what that has made, the next
//! keeper does. Since Linux 5.12. See nft(8), "flags owner".

use std::{
    os::fd::{BorrowedFd, RawFd},
    time::Duration,
};

use anyhow::{Context, bail};
use common::errors::Advice;

use crate::{
    bridge::Bridge,
    firewall::Firewall,
    forwarding::{Forwarding, Version},
    helper::{self, End, Helper},
    veth::Cable,
};

/// Rules that hold for as long as this exists.
pub struct Nat {
    /// What others have here.
    pub firewall: Firewall,
    nft: Helper,
}

/// How long nft(8) may think.
const PATIENCE: Duration = Duration::from_secs(10);

impl Nat {
    /// Sets up the rules for the container at the end of `cable`, before
    /// `forwarding` is turned on.
    ///
    /// # Errors
    /// There is no nft(8); the kernel takes no such table.
    pub fn set_up(
        cable: &Cable,
        bridge: &Bridge,
        forwarding: &[&Forwarding],
    ) -> anyhow::Result<Nat> {
        let mut nft = start()?;
        nft.say(&rules(cable, bridge, forwarding))?;
        let answer = hear(&mut nft)?;
        Ok(Nat {
            firewall: Firewall::read(&answer),
            nft,
        })
    }

    /// For poll(2): it hangs up when the owner of the rules ends.
    pub(crate) fn end(&self) -> BorrowedFd<'_> {
        self.nft.output()
    }

    /// What of it is open.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.nft.numbers()
    }

    /// Whether the owner of the rules was killed, and they are gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.nft.has_hung_up()
    }

    /// Tries it, in a network namespace in which nobody needs the result.
    pub(crate) fn try_out() -> anyhow::Result<()> {
        let mut nft = start()?;
        let table = "inet try";
        nft.say(&format!(
            "add table {table} {{ flags owner; }}\n\
             add chain {table} nat {{ \
             type nat hook postrouting priority srcnat; }}\n\
             add rule {table} nat ip saddr 10.0.0.0/8 masquerade\n\
             add chain {table} forward {{ \
             type filter hook forward priority filter; }}\n\
             add rule {table} forward ct state {{ invalid, untracked }} drop\n\
             add rule {table} forward ct state != established \
             ct status & dnat == 0 drop\n\
             list table {table}\n"
        ))?;
        hear(&mut nft).map(drop)
    }
}

fn start() -> anyhow::Result<Helper> {
    let program = helper::find("nft")
        .context("there is no nft(8) on this machine")
        .context(Advice::only(
            "install nftables: the way out is made of its rules",
        ))?;
    // It ends with its input. Of the first one's the keeper has a copy: the rules
    // stand until nothing is forwarded any more, if the parent is killed. What
    // the keeper has made ends with the keeper, and so does not outlive both.
    Helper::start(&program, &["-i"], End::WithItsInput)
}

/// What it says until it has shown the table that it was told to show last.
///
/// # Errors
/// An error came before.
fn hear(nft: &mut Helper) -> anyhow::Result<String> {
    let is_done = |it: &str| match it.split_once("flags owner") {
        Some((_, table)) => table.contains("\n}"),
        None => it.contains("Error:"),
    };
    let answer = nft.hear(PATIENCE, is_done)?;
    if !is_done(&answer) || answer.contains("Error:") {
        let error = answer.lines().find(|it| it.contains("Error:"));
        bail!("nft(8) says: {}", error.unwrap_or("nothing"));
    }
    Ok(answer)
}

/// What nft(8) is told.
fn rules(cable: &Cable, bridge: &Bridge, forwarding: &[&Forwarding]) -> String {
    let (table, switch) = (cable.outside(), &bridge.name);
    let table = format!("inet {table}");
    let mut text = format!(
        "add table {table} {{ flags owner; }}\n\
         add chain {table} nat {{ \
         type nat hook postrouting priority srcnat; }}\n\
         add chain {table} forward {{ \
         type filter hook forward priority filter; }}\n"
    );
    for address in cable.addresses() {
        let family = if address.ip.is_ipv4() { "ip" } else { "ip6" };
        let ip = address.ip;
        // What goes to another one on the bridge keeps its address.
        text += &format!(
            "add rule {table} nat {family} saddr {ip} oifname != {switch:?} \
             masquerade\n"
        );
        // Who knows the way through the host to the container, a neighbour or a
        // container of another network, gets answers and begins nothing.
        text += &format!(
            "add rule {table} forward {family} daddr {ip} iifname != \
             {switch:?} ct state != {{ established, related }} drop\n"
        );
    }
    for subnet in bridge.subnet.prefixes() {
        let family = if subnet.ip.is_ipv4() { "ip" } else { "ip6" };
        // Who may send packets that it makes itself has no address but those of
        // its network, as far as others are concerned.
        text += &format!(
            "add rule {table} forward iifname {switch:?} oifname != {switch:?} \
             {family} saddr != {subnet} drop\n"
        );
    }
    for it in forwarding {
        let family = match it.version {
            Version::V4 => "ipv4",
            Version::V6 => "ipv6",
        };
        for interface in &it.opened {
            // This one did not forward anything before, and no more comes in by
            // it now than the answers, and what a rule of the host's owner leads
            // elsewhere: Docker may start meanwhile, and publish a port. What
            // belongs to no connection has no status, and a rule that asks for
            // it does not match: such packets need a rule of their own.
            text += &format!(
                "add rule {table} forward iifname {interface:?} meta nfproto \
                 {family} ct state {{ invalid, untracked }} drop\n\
                 add rule {table} forward iifname {interface:?} meta nfproto \
                 {family} ct state != {{ established, related }} \
                 ct status & dnat == 0 drop\n"
            );
        }
    }
    text + &format!("list chains\nlist table {table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subnet::Subnet;

    #[test]
    fn the_door_is_as_narrow_as_what_goes_through_it() {
        let v4 = [10, 88, 77, 0].into();
        let subnet = Subnet { v4, v6: None };
        let name = "box0".to_owned();
        let bridge = Bridge { name, subnet };
        let cable = Cable::new(&bridge, 2, 0);
        let rules = rules(
            &cable,
            &bridge,
            &[&Forwarding {
                version: Version::V4,
                ways_out: vec!["wan".into(), "tun".into()],
                opened: vec!["wan".into()],
            }],
        );
        let expected = "add table inet box0.2 { flags owner; }\n";
        assert!(rules.starts_with(expected), "{rules}");
        for rule in [
            "nat ip saddr 10.88.77.2 oifname != \"box0\" masquerade\n",
            "iifname \"wan\" meta nfproto ipv4 ct state { invalid, untracked }",
            "iifname \"wan\" meta nfproto ipv4 ct state != { established,",
            "\"box0\" oifname != \"box0\" ip saddr != 10.88.77.0/24 drop\n",
        ] {
            assert!(rules.contains(rule), "{rules}");
        }
    }
}
