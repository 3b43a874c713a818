//! The limits in the files of version 1. See the kernel's documentation,
//! admin-guide/cgroup-v1.

use anyhow::{anyhow, bail, ensure};

use super::setting::{Setting, given, or_max};
use crate::{
    config::resources::{
        BlockIo, Cpu, HugepageLimit, Memory, Network, Resources, ThrottleDevice,
    },
    log,
};

/// What is to be written for `resources`, without the devices.
pub(super) fn settings(resources: &Resources) -> anyhow::Result<Vec<Setting>> {
    if let Some(file) = resources.unified.keys().next() {
        bail!(
            "linux.resources.unified: {file}: this machine's cgroups are of \
             version 1"
        );
    }
    let mut all = memory(&resources.memory)?;
    all.extend(cpu(&resources.cpu));
    if let Some(limit) = given(resources.pids.limit) {
        all.push(Setting::new("pids.limit", "pids.max", or_max(limit)));
    }
    all.extend(block_io(&resources.block_io));
    all.extend(network(&resources.network));
    // The controller that a machine with both versions may have moved on.
    let names = ["limit_in_bytes", "max"];
    all.extend(huge_pages(&resources.hugepage_limits, &names));
    all.extend(super::v2::rdma(&resources.rdma));
    Ok(all)
}

fn memory(memory: &Memory) -> anyhow::Result<Vec<Setting>> {
    leave_out_kernel(memory);
    ensure!(
        memory.use_hierarchy != Some(false),
        "linux.resources.memory.useHierarchy: since Linux 5.11 it is always so"
    );
    let limit = given(memory.limit);
    // Without a limit for memory there can't be one for memory and swap.
    let no_limit = limit.filter(|limit| *limit == -1);
    let swap = given(memory.swap).or(no_limit);
    let numbers = [
        ("memory.limit", "memory.limit_in_bytes", limit),
        ("memory.swap", "memory.memsw.limit_in_bytes", swap),
        (
            "memory.reservation",
            "memory.soft_limit_in_bytes",
            given(memory.reservation),
        ),
        (
            "memory.kernelTCP",
            "memory.kmem.tcp.limit_in_bytes",
            given(memory.kernel_tcp),
        ),
    ];
    let mut all = present(numbers);
    if let Some(swappiness) = memory.swappiness {
        let field = "memory.swappiness";
        all.push(Setting::new(field, "memory.swappiness", swappiness));
    }
    if let Some(disable) = memory.disable_oom_killer {
        let field = "memory.disableOOMKiller";
        let value = u8::from(disable);
        all.push(Setting::new(field, "memory.oom_control", value));
    }
    Ok(all)
}

/// The one limit that runtimes may leave out: so the specification says.
pub(super) fn leave_out_kernel(memory: &Memory) {
    if given(memory.kernel).is_some() {
        log::warning(&anyhow!(
            "linux.resources.memory.kernel: since Linux 5.16 there is no such \
             limit"
        ));
    }
}

fn cpu(cpu: &Cpu) -> Vec<Setting> {
    let mut all = present([
        ("cpu.shares", "cpu.shares", given(cpu.shares)),
        ("cpu.period", "cpu.cfs_period_us", given(cpu.period)),
        ("cpu.burst", "cpu.cfs_burst_us", cpu.burst),
        (
            "cpu.realtimePeriod",
            "cpu.rt_period_us",
            given(cpu.realtime_period),
        ),
    ]);
    all.extend(present([
        ("cpu.quota", "cpu.cfs_quota_us", given(cpu.quota)),
        (
            "cpu.realtimeRuntime",
            "cpu.rt_runtime_us",
            given(cpu.realtime_runtime),
        ),
        ("cpu.idle", "cpu.idle", cpu.idle),
    ]));
    all.extend(cpuset(cpu));
    all
}

/// The same in both versions.
pub(super) fn cpuset(cpu: &Cpu) -> Vec<Setting> {
    let list = |list: &String| Some(list.clone()).filter(|it| !it.is_empty());
    present([
        ("cpu.cpus", "cpuset.cpus", list(&cpu.cpus)),
        ("cpu.mems", "cpuset.mems", list(&cpu.mems)),
    ])
}

/// They are limited where they are used, and where they are reserved: without
/// that a mapping would succeed, and its use be the end of the process. Kernels
/// before 5.7 count no reservations.
pub(super) fn huge_pages(
    limits: &[HugepageLimit],
    names: &[&str],
) -> Vec<Setting> {
    let mut all = Vec::new();
    for HugepageLimit { page_size, limit } in limits {
        let files = |kind: &str| -> Vec<_> {
            let of = |it| format!("hugetlb.{page_size}{kind}.{it}");
            names.iter().map(|it| (of(it), limit.to_string())).collect()
        };
        for files in [files(""), [files(".rsvd"), files("")].concat()] {
            all.push(Setting {
                field: "hugepageLimits".to_owned(),
                controller: "hugetlb".to_owned(),
                files,
            });
        }
    }
    all
}

/// Of a table of fields, files and values those that have a value.
pub(super) fn present<V: ToString, const N: usize>(
    table: [(&str, &str, Option<V>); N],
) -> Vec<Setting> {
    table
        .into_iter()
        .filter_map(|(field, file, value)| {
            Some(Setting::new(field, file, value?))
        })
        .collect()
}

fn block_io(io: &BlockIo) -> Vec<Setting> {
    let mut all = Vec::new();
    if let Some(weight) = given(io.weight) {
        let file = Setting::new("blockIO.weight", "blkio.bfq.weight", weight);
        all.push(file.or("blkio.weight", weight));
    }
    if let Some(weight) = given(io.leaf_weight) {
        let field = "blockIO.leafWeight";
        all.push(Setting::new(field, "blkio.leaf_weight", weight));
    }
    for device in &io.weight_device {
        let of = |weight| format!("{}:{} {weight}", device.major, device.minor);
        let field = "blockIO.weightDevice";
        if let Some(weight) = device.weight {
            let file =
                Setting::new(field, "blkio.bfq.weight_device", of(weight));
            all.push(file.or("blkio.weight_device", of(weight)));
        }
        if let Some(weight) = device.leaf_weight {
            let file = "blkio.leaf_weight_device";
            all.push(Setting::new(field, file, of(weight)));
        }
    }
    for (field, what, devices) in throttled(io) {
        for ThrottleDevice { major, minor, rate } in devices {
            let file = format!("blkio.throttle.{what}_device");
            let value = format!("{major}:{minor} {rate}");
            all.push(Setting::new(field, &file, value));
        }
    }
    all
}

/// The four lists of throttled devices, and how version 1 calls them.
pub(super) fn throttled(
    io: &BlockIo,
) -> [(&'static str, &'static str, &[ThrottleDevice]); 4] {
    [
        (
            "blockIO.throttleReadBpsDevice",
            "read_bps",
            &io.throttle_read_bps_device,
        ),
        (
            "blockIO.throttleWriteBpsDevice",
            "write_bps",
            &io.throttle_write_bps_device,
        ),
        (
            "blockIO.throttleReadIOPSDevice",
            "read_iops",
            &io.throttle_read_iops_device,
        ),
        (
            "blockIO.throttleWriteIOPSDevice",
            "write_iops",
            &io.throttle_write_iops_device,
        ),
    ]
}

fn network(network: &Network) -> Vec<Setting> {
    let mut all = present([(
        "network.classID",
        "net_cls.classid",
        given(network.class_id),
    )]);
    for it in &network.priorities {
        let value = format!("{} {}", it.name, it.priority);
        let field = "network.priorities";
        all.push(Setting::new(field, "net_prio.ifpriomap", value));
    }
    all
}
