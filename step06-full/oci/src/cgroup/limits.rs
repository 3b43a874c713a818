//! All that `linux.resources` says, as it is to be written.

use common::host::machine::in_initial_user_namespace;
use nix::unistd::geteuid;

use super::{
    device_program,
    devices::Devices,
    place::Place,
    setting::{Setting, write_all},
    v1, v2,
};
use crate::config::resources::Resources;

/// The limits of a container.
pub(super) struct Limits {
    settings: Vec<Setting>,
    devices: Devices,
    /// Whether the file says something about devices.
    has_rules: bool,
}

/// Files of version 2, and what they are to systemd. A weight counts among
/// neighbours, and those of a container are beside its scope. Limits hold below;
/// engines read them above.
const PROPERTIES: [(&str, &str); 3] = [
    ("cpu.weight", "CPUWeight"),
    ("io.weight", "IOWeight"),
    ("memory.max", "MemoryMax"),
];

impl Limits {
    /// `is_v2` is for a machine that has nothing but version 2.
    pub(super) fn of(
        resources: &Resources,
        is_v2: bool,
    ) -> anyhow::Result<Limits> {
        let settings = match is_v2 {
            true => v2::settings(resources)?,
            false => v1::settings(resources)?,
        };
        Ok(Limits {
            settings,
            devices: Devices::of(&resources.devices)?,
            has_rules: !resources.devices.is_empty(),
        })
    }

    /// The controllers without which they can't be had.
    pub(super) fn needed(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        let settings = self.settings.iter();
        let mut names: Vec<&str> =
            settings.map(|it| it.controller.as_str()).collect();
        if self.has_rules && devices_count() {
            names.push("devices");
        }
        for name in names {
            // The files of the core are in each cgroup.
            if name != "cgroup" && !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// What systemd is to know of them, by its names, for the cgroup above.
    pub(super) fn properties(&self) -> Vec<(&'static str, u64)> {
        let files = self.settings.iter().flat_map(|it| &it.files);
        let known = files.filter_map(|(file, value)| {
            let mut names = PROPERTIES.iter();
            let (_, name) = names.find(|(its, _)| its == file)?;
            match value.as_str() {
                "max" => Some((*name, u64::MAX)),
                // What is for one device only is no number.
                value => Some((*name, value.parse().ok()?)),
            }
        });
        known.collect()
    }

    /// Writes the numbers.
    pub(super) fn set(&self, place: &Place) -> anyhow::Result<()> {
        for part in &place.parts {
            let is_here = |setting: &&Setting| {
                part.controllers.contains(&setting.controller)
                    || part.is_v2 && setting.controller == "cgroup"
            };
            let settings = self.settings.iter().filter(is_here);
            write_all(settings, &part.directory)?;
        }
        Ok(())
    }

    /// Lets the container have its devices, and no others. What the file does
    /// not say is closed, too.
    pub(super) fn set_devices(&self, place: &Place) -> anyhow::Result<()> {
        let part = place.of("devices").filter(|_| devices_count());
        match part {
            Some(part) if part.is_v2 => {
                device_program::attach(&self.devices, &part.directory)
            }
            Some(part) => self.devices.write(&part.directory),
            None => Ok(()),
        }
    }
}

/// Whether it matters. Only the host's root could make nodes, or open those that
/// are closed to others: in a user namespace nobody is that, and what is mounted
/// there has no devices. A plain user may load no program either.
fn devices_count() -> bool {
    geteuid().is_root() && in_initial_user_namespace()
}
