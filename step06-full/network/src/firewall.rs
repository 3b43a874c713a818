//! The firewalls of others: a chain that drops what it does not know is not
//! undone by a table of ours, since each chain has its say. So it can only be
//! told who it is. See nft(8), "policy".

use std::{fs, process::Command};

use anyhow::Context;

use crate::helper;

/// Where the kernel says whether frames between two ports of one bridge pass
/// the firewall, too. See "br_netfilter".
const BETWEEN_PORTS: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// What of a firewall concerns a container.
#[derive(Debug, Default, PartialEq)]
pub struct Firewall {
    /// The chains that see what is forwarded, and drop what they don't know.
    pub dropping: Vec<String>,
    /// Whose they are, where that is known.
    owner: Option<Owner>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    Docker,
    Ufw,
    Firewalld,
}

impl Firewall {
    /// Asks nft(8), as root.
    pub fn ask() -> anyhow::Result<Firewall> {
        let nft = helper::find("nft").context("there is no nft(8)")?;
        let output = Command::new(nft).args(["list", "chains"]).output();
        let output = output.context("running nft(8)")?;
        Ok(Firewall::read(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Reads what `nft list chains` prints.
    #[must_use]
    pub fn read(chains: &str) -> Firewall {
        let mut firewall = Firewall::default();
        let (mut table, mut chain) = ("", "");
        for line in chains.lines().map(|it| it.trim_end_matches(" {").trim()) {
            if let Some(name) = line.strip_prefix("table ") {
                table = name;
            } else if let Some(name) = line.strip_prefix("chain ") {
                chain = name;
                firewall.owner = firewall.owner.or(owner(table, chain));
            } else if line.contains("hook forward")
                && line.contains("policy drop")
            {
                firewall.dropping.push(format!("{table} {chain}"));
            }
        }
        firewall
    }

    /// What to say about it to whoever has a network `bridge`; nothing if
    /// everything passes.
    #[must_use]
    pub fn warning(&self, bridge: &str) -> Option<String> {
        let chains = match &self.dropping[..] {
            [] => return None,
            chains => chains.join(", "),
        };
        let owner = self.owner.map_or("", Owner::name);
        let remedy = match self.owner {
            Some(owner) => owner.remedy(bridge),
            None => format!("a rule there that accepts {bridge:?}"),
        };
        let between = fs::read_to_string(BETWEEN_PORTS);
        let between = match between.is_ok_and(|it| it.trim_end() == "1") {
            true => {
                "neither out nor to each other (bridge-nf-call-iptables = 1)"
            }
            false => "no further than to each other",
        };
        Some(format!(
            "a firewall{owner} drops what is forwarded (chain {chains}): \
             containers may get {between}; what helps is {remedy}"
        ))
    }
}

/// They are known by the names of their tables and chains.
fn owner(table: &str, chain: &str) -> Option<Owner> {
    match (table, chain) {
        (_, "DOCKER-USER") => Some(Owner::Docker),
        (_, chain) if chain.starts_with("ufw-") => Some(Owner::Ufw),
        ("inet firewalld", _) => Some(Owner::Firewalld),
        _ => None,
    }
}

impl Owner {
    fn name(self) -> &'static str {
        match self {
            Owner::Docker => ", Docker's,",
            Owner::Ufw => ", that of ufw,",
            Owner::Firewalld => ", firewalld's,",
        }
    }

    fn remedy(self, bridge: &str) -> String {
        match self {
            Owner::Docker => format!(
                "`iptables -I DOCKER-USER -i {bridge} -j ACCEPT`, and the same \
                 with `-o`"
            ),
            Owner::Ufw => format!(
                "`ufw route allow in on {bridge}`, and `ufw route allow out on \
                 {bridge}`"
            ),
            Owner::Firewalld => format!(
                "`firewall-cmd --zone=trusted --add-interface={bridge}`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = "\
table ip filter {
\tchain DOCKER-USER {
\t}
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
\tchain INPUT {
\t\ttype filter hook input priority filter; policy drop;
\t}
}
table inet box0.2 {
\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t}
}
";

    #[test]
    fn who_drops_is_told_with_a_remedy() {
        let firewall = Firewall::read(DOCKER);
        assert_eq!(firewall.dropping, ["ip filter FORWARD"]);
        let text = firewall.warning("box0").expect("there is one");
        assert!(text.contains("Docker's"), "{text}");
        assert!(text.contains("DOCKER-USER -i box0 -j ACCEPT"), "{text}");
        let ufw = DOCKER.replace("DOCKER-USER", "ufw-user-forward");
        let text = Firewall::read(&ufw).warning("b").expect("there is one");
        assert!(text.contains("ufw route allow in on b"), "{text}");
        let nobodys = DOCKER.replace("DOCKER-USER", "MINE");
        let text = Firewall::read(&nobodys).warning("b");
        assert!(text.is_some_and(|it| it.contains("a rule there")));
    }

    #[test]
    fn who_accepts_is_not_named() {
        let open = DOCKER.replace("drop", "accept");
        assert_eq!(Firewall::read(&open).warning("box0"), None);
        assert_eq!(Firewall::read("").warning("box0"), None);
    }
}
