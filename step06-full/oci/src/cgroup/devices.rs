//! Which devices may be used.
//!
//! The rules of the specification are what one writes to `devices.allow` and
//! `devices.deny` of version 1, one after the other. Version 2 has no such files.
//! So the rules are gone through here, as the kernel would (see
//! security/device_cgroup.c), and what comes out is written into the files of the
//! one and into a program for the other.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail, ensure};
use common::host::files::write_kernel_file;

use crate::config::resources::DeviceRule;

/// What may be done with a device: a set of these, in this order.
const ACCESSES: &str = "rwm";

/// What comes out of the rules: what holds for all devices, and for which of
/// them the opposite holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Devices {
    /// What holds for all others.
    pub(super) allowed: bool,
    /// For each of these: for which accesses it does not.
    pub(super) exceptions: BTreeMap<Device, Access>,
}

/// A device, or several: without a number, all of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Device {
    pub(super) kind: Kind,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

/// What a device node leads to. See mknod(2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    Block,
    Character,
}

/// Whether it may be read, written to, made: one byte for each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Access([bool; 3]);

/// What every container may use, whatever the rules are: each node may be made,
/// and these may be opened. The list is runc's.
const ALWAYS: [(Option<u32>, Option<u32>, &str); 9] = [
    (None, None, "m"),
    (Some(1), Some(3), "rwm"), // null
    (Some(1), Some(5), "rwm"), // zero
    (Some(1), Some(7), "rwm"), // full
    (Some(1), Some(8), "rwm"), // random
    (Some(1), Some(9), "rwm"), // urandom
    (Some(5), Some(0), "rwm"), // tty
    (Some(5), Some(2), "rwm"), // ptmx
    (Some(136), None, "rwm"),  // pts/…
];

impl Devices {
    /// Goes through the rules. Before the first nothing is allowed.
    pub(super) fn of(rules: &[DeviceRule]) -> anyhow::Result<Devices> {
        let mut devices = Devices {
            allowed: false,
            exceptions: BTreeMap::new(),
        };
        for (index, rule) in rules.iter().enumerate() {
            devices
                .apply(rule)
                .with_context(|| format!("linux.resources.devices[{index}]"))?;
        }
        for (major, minor, access) in ALWAYS {
            let kind = Kind::Character;
            let device = Device { kind, major, minor };
            devices.set(device, Access::parse(access)?, true)?;
        }
        let all = Device {
            kind: Kind::Block,
            major: None,
            minor: None,
        };
        devices.set(all, Access::parse("m")?, true)?;
        Ok(devices)
    }

    fn apply(&mut self, rule: &DeviceRule) -> anyhow::Result<()> {
        let access = rule.access.as_deref().unwrap_or(ACCESSES);
        let access = Access::parse(access)?;
        let kind = match rule.kind.as_deref().unwrap_or("a") {
            "a" | "" => {
                ensure!(
                    number(rule.major)?.is_none()
                        && number(rule.minor)?.is_none()
                        && access == Access::ALL,
                    "type \"a\" is all devices, and all that can be done"
                );
                self.allowed = rule.allow;
                self.exceptions.clear();
                return Ok(());
            }
            "b" => Kind::Block,
            "c" | "u" => Kind::Character,
            other => bail!("there is no type of device {other:?}"),
        };
        let (major, minor) = (number(rule.major)?, number(rule.minor)?);
        let device = Device { kind, major, minor };
        self.set(device, access, rule.allow)
    }

    /// From now on this access to the device is allowed, or refused.
    fn set(
        &mut self,
        device: Device,
        access: Access,
        allow: bool,
    ) -> anyhow::Result<()> {
        if allow != self.allowed {
            let exception = self.exceptions.entry(device).or_default();
            *exception = exception.or(access);
            return Ok(());
        }
        // What held for some of them does so no more.
        for (other, exception) in &mut self.exceptions {
            if device.contains(other) {
                *exception = exception.without(access);
            } else if other.contains(&device) && exception.meets(access) {
                let line = line(other, *exception);
                // Version 1 can't say so, and one meaning is enough.
                ensure!(
                    allow,
                    "it takes a part of {line:?}, which an earlier rule allows"
                );
                bail!("it gives a part of {line:?}, which is refused");
            }
        }
        self.exceptions.retain(|_, it| *it != Access::default());
        Ok(())
    }

    /// Writes them to the files of version 1.
    pub(super) fn write(&self, cgroup: &Path) -> anyhow::Result<()> {
        let files = ["devices.deny", "devices.allow"];
        let file = |allow: bool| cgroup.join(files[usize::from(allow)]);
        // This clears the list, too.
        write_kernel_file(file(self.allowed), "a")?;
        for (device, access) in &self.exceptions {
            let line = line(device, *access);
            write_kernel_file(file(!self.allowed), &line)?;
        }
        Ok(())
    }
}

/// Of the specification's numbers -1 is all, too.
fn number(number: Option<i64>) -> anyhow::Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        // As large as a number in a program of version 2 can be.
        Some(number @ 0..=0x7fff_ffff) => Ok(u32::try_from(number).ok()),
        Some(number) => bail!("there is no device with the number {number}"),
    }
}

/// As version 1 writes it: `c 1:3 rwm`.
fn line(device: &Device, access: Access) -> String {
    let kind = match device.kind {
        Kind::Block => 'b',
        Kind::Character => 'c',
    };
    let number = |number: Option<u32>| {
        number.map_or("*".to_owned(), |number| number.to_string())
    };
    let (major, minor) = (number(device.major), number(device.minor));
    format!("{kind} {major}:{minor} {}", access.letters())
}

impl Device {
    /// Whether `other` is one of these.
    fn contains(&self, other: &Device) -> bool {
        let holds = |own: Option<u32>, other| own.is_none() || own == other;
        self.kind == other.kind
            && holds(self.major, other.major)
            && holds(self.minor, other.minor)
    }
}

impl Access {
    const ALL: Access = Access([true; 3]);

    fn parse(letters: &str) -> anyhow::Result<Access> {
        let mut access = Access::default();
        for letter in letters.chars() {
            let Some(index) = ACCESSES.find(letter) else {
                bail!("there is no access {letter:?}: it is of \"rwm\"");
            };
            access.0[index] = true;
        }
        ensure!(access != Access::default(), "there is no access");
        Ok(access)
    }

    fn letters(self) -> String {
        let letters = ACCESSES.chars().zip(self.0);
        letters.filter(|(_, is)| *is).map(|(it, _)| it).collect()
    }

    fn or(self, other: Access) -> Access {
        Access([0, 1, 2].map(|index| self.0[index] || other.0[index]))
    }

    fn without(self, other: Access) -> Access {
        Access([0, 1, 2].map(|index| self.0[index] && !other.0[index]))
    }

    fn meets(self, other: Access) -> bool {
        self.without(other) != self
    }

    /// A bit for each, as the kernel has them: `BPF_DEVCG_ACC_…`.
    pub(super) fn bits(self) -> i32 {
        let [read, write, make] = self.0.map(i32::from);
        make | read << 1 | write << 2
    }
}

#[cfg(test)]
mod tests;
