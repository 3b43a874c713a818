//! `linux`: what only this kernel has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{resources::Resources, seccomp::Seccomp};

/// `linux`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Linux {
    /// Those that are not listed are the caller's.
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) uid_mappings: Vec<Mapping>,
    pub(crate) gid_mappings: Vec<Mapping>,
    pub(crate) devices: Vec<Device>,
    pub(crate) cgroups_path: Option<String>,
    pub(crate) resources: Resources,
    pub(crate) rootfs_propagation: String,
    pub(crate) masked_paths: Vec<String>,
    pub(crate) readonly_paths: Vec<String>,
    pub(crate) mount_label: String,
    pub(crate) seccomp: Option<Seccomp>,
    pub(crate) sysctl: BTreeMap<String, String>,
    pub(crate) personality: Option<Personality>,
    pub(crate) memory_policy: Option<MemoryPolicy>,
    /// By their names outside.
    pub(crate) net_devices: BTreeMap<String, Interface>,
    /// By the names of clocks.
    pub(crate) time_offsets: BTreeMap<String, Offset>,
}

/// A namespace: a new one, or with a `path` that one.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) path: Option<String>,
}

/// A line of a user namespace's table.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Mapping {
    #[serde(rename = "containerID")]
    pub(crate) container: u32,
    #[serde(rename = "hostID")]
    pub(crate) host: u32,
    pub(crate) size: u32,
}

/// A node to be made.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Device {
    /// `c` or `u`, `b`, `p`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) path: String,
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) file_mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// The execution domain. See personality(2).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Personality {
    pub(crate) domain: String,
    pub(crate) flags: Vec<String>,
}

/// `linux.memoryPolicy`. See set_mempolicy(2).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct MemoryPolicy {
    pub(crate) mode: String,
    pub(crate) nodes: String,
    pub(crate) flags: Vec<String>,
}

/// An entry of `linux.netDevices`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Interface {
    /// What it is called in the container; without, as outside.
    pub(crate) name: String,
}

/// An entry of `linux.timeOffsets`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Offset {
    /// May be less than zero.
    pub(crate) secs: i64,
    /// Are added to that.
    pub(crate) nanosecs: u32,
}

impl Linux {
    /// The namespace `kind` is listed, with a path or without.
    pub(crate) fn has_namespace(&self, kind: &str) -> bool {
        self.namespaces.iter().any(|it| it.kind == kind)
    }

    /// A new namespace of that kind is asked for.
    pub(crate) fn makes_namespace(&self, kind: &str) -> bool {
        let mut namespaces = self.namespaces.iter();
        namespaces.any(|it| it.kind == kind && it.path().is_none())
    }
}

impl Namespace {
    /// The namespace that is to be entered.
    pub(crate) fn path(&self) -> Option<&str> {
        self.path.as_deref().filter(|path| !path.is_empty())
    }
}
