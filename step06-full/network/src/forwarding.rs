//! Forwarding: whether the host passes on what comes in at one interface and is
//! meant for another.
//!
//! `net.ipv4.ip_forward` would allow it for all interfaces, and make the host a
//! router for everybody. Two are enough: the bridge, and the interface on which
//! the answers come in. What was changed is written down before, so that the
//! last container of all networks can put it back, or the next one, if the last
//! was killed. See ip-sysctl in the kernel's documentation.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use common::{host::files::write_kernel_file, sys};
use nix::net::if_::if_indextoname;

use crate::{netlink::Netlink, place::here};

/// The directory of the settings.
const SETTINGS: &str = "/proc/sys/net";

/// How the files begin that say what was changed.
pub(crate) const CHANGED: &str = "changed.";

/// A version of the internet protocol, as far as forwarding goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Version {
    /// IPv4: each interface has a switch.
    V4,
    /// IPv6: each interface has one since Linux 6.17. Before, there is only one
    /// for all of them, and it turns off what the host learns from its own
    /// router: that one is not touched.
    V6,
}

impl Version {
    fn family(self) -> libc::c_int {
        match self {
            Version::V4 => libc::AF_INET,
            Version::V6 => libc::AF_INET6,
        }
    }

    fn setting(self, interface: &str) -> String {
        match self {
            Version::V4 => format!("ipv4/conf/{interface}/forwarding"),
            Version::V6 => format!("ipv6/conf/{interface}/force_forwarding"),
        }
    }

    /// Whether the host forwards everywhere already, for whatever reason.
    #[must_use]
    pub fn is_on(self) -> bool {
        let all = match self {
            Version::V4 => "ipv4/ip_forward",
            Version::V6 => "ipv6/conf/all/forwarding",
        };
        // Any number but 0 turns it on.
        reads(all).is_some_and(|it| it != "0")
    }
}

/// What has to be changed so that the host forwards between a bridge and its
/// ways out.
#[derive(Debug)]
pub struct Forwarding {
    /// By IPv4 or by IPv6.
    pub version: Version,
    /// The interfaces through which the host reaches everybody, by its default
    /// routes.
    pub ways_out: Vec<String>,
    /// Those among them that forward only because of us, now or soon.
    pub opened: Vec<String>,
}

impl Forwarding {
    /// Looks what has to be changed.
    pub fn plan(version: Version) -> anyhow::Result<Forwarding> {
        let ways_out = ways_out(version)?;
        let here = here()?;
        let is_ours = |interface: &String| {
            let setting = version.setting(interface);
            here.join(note(&setting)).exists()
                || reads(&setting).is_none_or(|it| it == "0")
        };
        let opened = match version.is_on() {
            true => Vec::new(),
            false => {
                ways_out.iter().filter(|it| is_ours(it)).cloned().collect()
            }
        };
        Ok(Forwarding {
            version,
            ways_out,
            opened,
        })
    }

    /// Changes it, and returns the names of the settings that were not yet
    /// changed for another container.
    ///
    /// To be called with the [`lock`](crate::place::lock) held.
    ///
    /// # Errors
    /// There is no such switch for IPv6 in this kernel; `/proc/sys` is read-only.
    pub fn turn_on(&self, bridge: &str) -> anyhow::Result<Vec<String>> {
        let mut changed = Vec::new();
        if self.version.is_on() {
            return Ok(changed);
        }
        // It goes with the bridge.
        set(&self.version.setting(bridge), "1")?;
        let here = here()?;
        for interface in &self.opened {
            let setting = self.version.setting(interface);
            let note = here.join(note(&setting));
            if !note.exists() {
                fs::write(&note, &setting)
                    .with_context(|| format!("writing {note:?}"))?;
                changed.push(format!("net/{setting}").replace('/', "."));
            }
            set(&setting, "1")?;
        }
        Ok(changed)
    }

    /// Turns it off again for a while, where it is on because of us: the note
    /// that says so stays.
    pub fn turn_off(&self) -> sys::Result<()> {
        if self.version.is_on() {
            return Ok(());
        }
        for interface in &self.opened {
            let setting = self.version.setting(interface);
            if reads(&setting).is_some() {
                set(&setting, "0")?;
            }
        }
        Ok(())
    }
}

fn ways_out(version: Version) -> anyhow::Result<Vec<String>> {
    let routes = Netlink::open()?.routes(version.family())?;
    let everywhere = routes.iter().filter(|it| it.prefix == 0);
    let numbers = everywhere.filter_map(|it| it.interface);
    let names = numbers.filter_map(|it| if_indextoname(it).ok());
    let mut names: Vec<String> = names
        .filter_map(|it| it.into_string().ok())
        .filter(|it| it != "lo")
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The name of the file that says that a setting was changed.
fn note(setting: &str) -> String {
    format!("{CHANGED}{}", setting.replace('/', "."))
}

fn set(setting: &str, value: &str) -> sys::Result<()> {
    write_kernel_file(Path::new(SETTINGS).join(setting), value)
}

/// What was turned on here and is not put back yet: names of settings.
pub fn changed() -> sys::Result<Vec<String>> {
    Ok(notes()?.into_iter().map(|(_, setting)| setting).collect())
}

/// Puts everything back. To be called by the last one, with the lock held.
///
/// If the host is a router by now, somebody else has turned forwarding on for
/// all interfaces, and wants it here, too. (IPv6 has a switch of its own for
/// that.)
pub fn put_back() -> anyhow::Result<()> {
    for (note, setting) in notes()? {
        let is_wanted = setting.starts_with("ipv4/") && Version::V4.is_on();
        // The interface may be gone meanwhile, and its setting with it.
        if reads(&setting).is_some() && !is_wanted {
            set(&setting, "0")?;
        }
        sys::unlink(note)?;
    }
    Ok(())
}

fn notes() -> sys::Result<Vec<(PathBuf, String)>> {
    let here = here()?;
    let names = sys::readdir(&here).unwrap_or_default();
    let ours = names.iter().filter_map(|it| it.to_str());
    let ours = ours.filter(|it| it.starts_with(CHANGED));
    let texts = ours.map(|it| here.join(it)).filter_map(|it| {
        let text = fs::read_to_string(&it).ok()?;
        Some((it, text))
    });
    Ok(texts.collect())
}

fn reads(setting: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(SETTINGS).join(setting)).ok()?;
    Some(text.trim_end().to_owned())
}
