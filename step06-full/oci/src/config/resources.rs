//! `linux.resources`: the limits of the container's cgroup.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `linux.resources`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Resources {
    /// Which devices may be used: each entry changes what those before it said.
    pub(crate) devices: Vec<DeviceRule>,
    pub(crate) memory: Memory,
    pub(crate) cpu: Cpu,
    pub(crate) pids: Pids,
    #[serde(rename = "blockIO")]
    pub(crate) block_io: BlockIo,
    pub(crate) hugepage_limits: Vec<HugepageLimit>,
    pub(crate) network: Network,
    /// What may be had of a network card for remote memory, by its name.
    pub(crate) rdma: BTreeMap<String, Rdma>,
    /// Files of version 2, and what is to be written to them.
    pub(crate) unified: BTreeMap<String, String>,
}

/// An entry of `linux.resources.devices`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DeviceRule {
    pub(crate) allow: bool,
    /// `c`, `b`, or `a` for all.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// Without, or with -1: all of them.
    pub(crate) major: Option<i64>,
    pub(crate) minor: Option<i64>,
    /// Of `r`, `w` and `m` (mknod).
    pub(crate) access: Option<String>,
}

/// `linux.resources.memory`: bytes; -1 is no limit.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Memory {
    pub(crate) limit: Option<i64>,
    /// What is left to it when memory gets scarce.
    pub(crate) reservation: Option<i64>,
    /// Memory and swap together.
    pub(crate) swap: Option<i64>,
    /// Of the kernel, for this container. Linux has given it up.
    pub(crate) kernel: Option<i64>,
    /// Of the kernel, for buffers of TCP.
    #[serde(rename = "kernelTCP")]
    pub(crate) kernel_tcp: Option<i64>,
    pub(crate) swappiness: Option<u64>,
    #[serde(rename = "disableOOMKiller")]
    pub(crate) disable_oom_killer: Option<bool>,
    pub(crate) use_hierarchy: Option<bool>,
    /// A limit below what is in use already is refused.
    pub(crate) check_before_update: Option<bool>,
}

/// `linux.resources.cpu`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Cpu {
    /// The share of the processor, when all want it: 2 to 262144.
    pub(crate) shares: Option<u64>,
    /// Microseconds of processor time in each period.
    pub(crate) quota: Option<i64>,
    /// What may be saved up.
    pub(crate) burst: Option<u64>,
    pub(crate) period: Option<u64>,
    pub(crate) realtime_runtime: Option<i64>,
    pub(crate) realtime_period: Option<u64>,
    /// A list, like `0-2,7`.
    pub(crate) cpus: String,
    pub(crate) mems: String,
    /// 1: runs when nobody else wants to.
    pub(crate) idle: Option<i64>,
}

/// `linux.resources.pids`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Pids {
    /// -1 is no limit.
    pub(crate) limit: Option<i64>,
}

/// `linux.resources.blockIO`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct BlockIo {
    /// 10 to 1000.
    pub(crate) weight: Option<u16>,
    pub(crate) leaf_weight: Option<u16>,
    pub(crate) weight_device: Vec<WeightDevice>,
    pub(crate) throttle_read_bps_device: Vec<ThrottleDevice>,
    pub(crate) throttle_write_bps_device: Vec<ThrottleDevice>,
    #[serde(rename = "throttleReadIOPSDevice")]
    pub(crate) throttle_read_iops_device: Vec<ThrottleDevice>,
    #[serde(rename = "throttleWriteIOPSDevice")]
    pub(crate) throttle_write_iops_device: Vec<ThrottleDevice>,
}

/// An entry of `weightDevice`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WeightDevice {
    pub(crate) major: i64,
    pub(crate) minor: i64,
    pub(crate) weight: Option<u16>,
    pub(crate) leaf_weight: Option<u16>,
}

/// An entry of the four lists of throttled devices.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ThrottleDevice {
    pub(crate) major: i64,
    pub(crate) minor: i64,
    pub(crate) rate: u64,
}

/// An entry of `linux.resources.hugepageLimits`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HugepageLimit {
    /// Like `2MB`.
    pub(crate) page_size: String,
    pub(crate) limit: u64,
}

/// `linux.resources.network`: version 1 alone has it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Network {
    #[serde(rename = "classID")]
    pub(crate) class_id: Option<u32>,
    pub(crate) priorities: Vec<Priority>,
}

/// An entry of `linux.resources.network.priorities`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Priority {
    pub(crate) name: String,
    pub(crate) priority: u32,
}

/// An entry of `linux.resources.rdma`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rdma {
    pub(crate) hca_handles: Option<u32>,
    pub(crate) hca_objects: Option<u32>,
}
