//! Which networks somebody wants.

use std::str::FromStr;

use anyhow::ensure;

/// The part of the command line about networks.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Networks {
    /// Network of the container: a name, and the bridge of this name is made if
    /// it is missing (repeatable); container:NAME, that of another one;
    /// host; or none [default: none]
    #[arg(long, value_name = "NAME")]
    network: Vec<Choice>,
    /// Let the container send packets that it makes itself (CAP_NET_RAW): it can
    /// pretend to be another one on its network
    #[arg(long)]
    pub(crate) raw_packets: bool,
}

/// A network that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    Nothing,
    Host,
    Container(String),
    Bridge(String),
}

/// The name of a bridge leaves room for that of a cable, `NAME.254`: 15 bytes
/// are the most that an interface can have.
const LONGEST: usize = 11;

impl FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Choice> {
        let is_plain =
            |it: char| it.is_ascii_alphanumeric() || "-_".contains(it);
        match text {
            "none" => Ok(Choice::Nothing),
            "host" => Ok(Choice::Host),
            _ if text.starts_with("container:") => {
                let name = text.trim_start_matches("container:");
                Ok(Choice::Container(name.into()))
            }
            _ => {
                let begins =
                    text.starts_with(|it: char| it.is_ascii_alphabetic());
                ensure!(
                    begins
                        && text.len() <= LONGEST
                        && text.chars().all(is_plain),
                    "the name of a network is up to {LONGEST} letters, digits, \
                     `-` and `_`, the first a letter"
                );
                // The kernel has settings for all interfaces, and for those to
                // come, beside those of each.
                ensure!(
                    !["all", "default"].contains(&text),
                    "no network can be called {text:?}: net.ipv4.conf.{text} is \
                     no interface"
                );
                Ok(Choice::Bridge(text.into()))
            }
        }
    }
}

/// What they come to.
pub(crate) enum Wanted<'a> {
    Nothing,
    Host,
    Container(&'a str),
    /// At least one name, and none twice.
    Bridges(Vec<&'a str>),
}

impl Networks {
    /// # Errors
    /// What is no bridge doesn't go with anything else.
    pub(crate) fn wanted(&self) -> anyhow::Result<Wanted<'_>> {
        let mut names: Vec<&str> = Vec::new();
        for choice in &self.network {
            if let Choice::Bridge(name) = choice
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        let alone = self.network.len() <= 1;
        let is_bridge = |it: &Choice| matches!(it, Choice::Bridge(_));
        ensure!(
            alone || self.network.iter().all(is_bridge),
            "only bridges go with each other: `none`, `host` and `container:` \
             stand alone"
        );
        Ok(match self.network.first() {
            None | Some(Choice::Nothing) => Wanted::Nothing,
            Some(Choice::Host) => Wanted::Host,
            Some(Choice::Container(name)) => Wanted::Container(name),
            Some(Choice::Bridge(_)) => Wanted::Bridges(names),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leaves_room_for_that_of_a_cable() {
        for good in ["box0", "a", "my-net_2", "elevenchars"] {
            assert_eq!(
                good.parse::<Choice>().ok(),
                Some(Choice::Bridge(good.into()))
            );
        }
        for bad in ["", "0box", "twelve-chars", "a.b", "a/b", "a b", "é", "all"]
        {
            bad.parse::<Choice>().expect_err(bad);
        }
    }
}
