//! The limits in the files of version 2. See the kernel's documentation,
//! admin-guide/cgroup-v2.
//!
//! The specification was written for version 1, whose numbers have other units:
//! they are converted as runc and crun do it.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

use super::{
    setting::{Setting, given, or_max},
    v1::{cpuset, huge_pages, present, throttled},
};
use crate::config::resources::{
    BlockIo, Cpu, Memory, Rdma, Resources, ThrottleDevice,
};

/// What is to be written for `resources`, without the devices.
pub(super) fn settings(resources: &Resources) -> anyhow::Result<Vec<Setting>> {
    let mut all = memory(&resources.memory)?;
    all.extend(cpu(&resources.cpu)?);
    if let Some(limit) = given(resources.pids.limit) {
        all.push(Setting::new("pids.limit", "pids.max", or_max(limit)));
    }
    all.extend(block_io(&resources.block_io)?);
    let network = &resources.network;
    ensure!(
        given(network.class_id).is_none() && network.priorities.is_empty(),
        "linux.resources.network: version 2 of cgroups has no such files"
    );
    all.extend(huge_pages(&resources.hugepage_limits, &["max"]));
    all.extend(rdma(&resources.rdma));
    // Last, so that what is said in the kernel's own words holds.
    for (file, value) in &resources.unified {
        // The other files of the core move processes, stop or kill them.
        ensure!(
            !file.starts_with("cgroup.") || file.starts_with("cgroup.max."),
            "linux.resources.unified: {file} is not for limits"
        );
        let field = format!("unified: {file}");
        for value in value.lines() {
            all.push(Setting::new(&field, file, value));
        }
    }
    Ok(all)
}

fn memory(memory: &Memory) -> anyhow::Result<Vec<Setting>> {
    super::v1::leave_out_kernel(memory);
    let refused = [
        ("kernelTCP", given(memory.kernel_tcp).is_some()),
        ("swappiness", memory.swappiness.is_some()),
        ("disableOOMKiller", memory.disable_oom_killer == Some(true)),
        ("useHierarchy", memory.use_hierarchy == Some(false)),
    ];
    if let Some((field, _)) = refused.into_iter().find(|(_, is)| *is) {
        bail!(
            "linux.resources.memory.{field}: version 2 of cgroups has no such \
             setting"
        );
    }
    let swap = swap(memory).context("linux.resources.memory.swap")?;
    Ok(present([
        (
            "memory.limit",
            "memory.max",
            given(memory.limit).map(or_max),
        ),
        ("memory.swap", "memory.swap.max", swap.map(or_max)),
        (
            "memory.reservation",
            "memory.low",
            given(memory.reservation).map(or_max),
        ),
    ]))
}

/// Swap alone, where the specification has memory and swap together.
fn swap(memory: &Memory) -> anyhow::Result<Option<i64>> {
    match (given(memory.limit), given(memory.swap)) {
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (None | Some(..0), Some(_)) => {
            bail!("it is memory and swap together, and memory has no limit")
        }
        (Some(limit), Some(both)) => {
            ensure!(
                both >= limit,
                "it is memory and swap together, and memory alone is more"
            );
            Ok(Some(both - limit))
        }
    }
}

fn cpu(cpu: &Cpu) -> anyhow::Result<Vec<Setting>> {
    let realtime = given(cpu.realtime_runtime).is_some()
        || given(cpu.realtime_period).is_some();
    ensure!(
        !realtime,
        "linux.resources.cpu.realtimeRuntime: version 2 of cgroups has no such \
         setting"
    );
    let mut all = Vec::new();
    // A group that is idle has no weight, and the kernel takes none for it.
    if let Some(shares) = given(cpu.shares).filter(|_| cpu.idle != Some(1)) {
        let weight = weight_of_shares(shares);
        all.push(Setting::new("cpu.shares", "cpu.weight", weight));
    }
    let (quota, period) = (given(cpu.quota), given(cpu.period));
    let value = match (quota, period) {
        (None, None) => None,
        (Some(quota), None) => Some(or_max(quota)),
        (quota, Some(period)) => {
            Some(format!("{} {period}", or_max(quota.unwrap_or(-1))))
        }
    };
    all.extend(present([("cpu.quota", "cpu.max", value)]));
    all.extend(present([("cpu.burst", "cpu.max.burst", cpu.burst)]));
    all.extend(present([("cpu.idle", "cpu.idle", cpu.idle)]));
    all.extend(cpuset(cpu));
    Ok(all)
}

/// 2 to 262144 becomes 1 to 10000.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn block_io(io: &BlockIo) -> anyhow::Result<Vec<Setting>> {
    let leaf = given(io.leaf_weight).is_some()
        || io.weight_device.iter().any(|it| it.leaf_weight.is_some());
    ensure!(
        !leaf,
        "linux.resources.blockIO.leafWeight: version 2 of cgroups has no such \
         setting"
    );
    let mut all = Vec::new();
    if let Some(weight) = given(io.weight) {
        let file = Setting::new("blockIO.weight", "io.bfq.weight", weight);
        all.push(file.or("io.weight", weight_of_io(weight)?));
    }
    for device in &io.weight_device {
        let Some(weight) = device.weight else {
            continue;
        };
        let of = |weight| format!("{}:{} {weight}", device.major, device.minor);
        let field = "blockIO.weightDevice";
        let file = Setting::new(field, "io.bfq.weight", of(weight.to_string()));
        let weight = weight_of_io(weight)?.to_string();
        all.push(file.or("io.weight", of(weight)));
    }
    let keys = ["rbps", "wbps", "riops", "wiops"];
    for ((field, _, devices), key) in throttled(io).into_iter().zip(keys) {
        for ThrottleDevice { major, minor, rate } in devices {
            let value = format!("{major}:{minor} {key}={rate}");
            all.push(Setting::new(field, "io.max", value));
        }
    }
    Ok(all)
}

/// 10 to 1000 becomes 1 to 10000.
fn weight_of_io(weight: u16) -> anyhow::Result<u64> {
    ensure!(
        (10..=1_000).contains(&weight),
        "linux.resources.blockIO: a weight is 10 to 1000, and not {weight}"
    );
    Ok(1 + (u64::from(weight) - 10) * 9_999 / 990)
}

/// The same in both versions.
pub(super) fn rdma(devices: &BTreeMap<String, Rdma>) -> Vec<Setting> {
    let mut all = Vec::new();
    for (device, limit) in devices {
        let keys = [
            ("hca_handle", limit.hca_handles),
            ("hca_object", limit.hca_objects),
        ];
        for (key, limit) in keys {
            let Some(limit) = limit else { continue };
            let value = format!("{device} {key}={limit}");
            all.push(Setting::new("rdma", "rdma.max", value));
        }
    }
    all
}
