//! Counters of version 1.

use serde_json::{Value, json};

use super::{Cgroup, about_device, field};
use crate::cgroup::place::Place;

/// Nanoseconds in a tick of the clock by which user and system time are
/// counted: it ticks a hundred times a second for programs, on all machines.
const TICK: u64 = 10_000_000;

pub(super) fn of(place: &Place) -> Value {
    let cgroup = |controller| {
        Cgroup(place.of(controller).map(|it| it.directory.as_path()))
    };
    json!({
        "cpu": cpu(cgroup("cpu"), cgroup("cpuacct")),
        "cpuset": {},
        "memory": memory(cgroup("memory")),
        "pids": {
            "current": cgroup("pids").count("pids.current"),
            "limit": limit(cgroup("pids").count("pids.max")),
        },
        "blkio": block_io(cgroup("blkio")),
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// runc writes 0 for no limit.
pub(super) fn limit(limit: u64) -> u64 {
    if limit == u64::MAX { 0 } else { limit }
}

fn cpu(cpu: Cgroup, account: Cgroup) -> Value {
    let times = account.table("cpuacct.stat");
    let throttled = cpu.table("cpu.stat");
    let text = account.text("cpuacct.usage_percpu");
    let each: Vec<u64> = text
        .split_whitespace()
        .filter_map(|it| it.parse().ok())
        .collect();
    json!({
        "usage": {
            "total": account.count("cpuacct.usage"),
            "percpu": each,
            "kernel": field(&times, "system") * TICK,
            "user": field(&times, "user") * TICK,
        },
        "throttling": {
            "periods": field(&throttled, "nr_periods"),
            "throttledPeriods": field(&throttled, "nr_throttled"),
            "throttledTime": field(&throttled, "throttled_time"),
        },
    })
}

fn memory(cgroup: Cgroup) -> Value {
    let of = |name: &str| {
        let file = |what| cgroup.count(&format!("memory.{name}{what}"));
        json!({
            "limit": file("limit_in_bytes"),
            "usage": file("usage_in_bytes"),
            "max": file("max_usage_in_bytes"),
            "failcnt": file("failcnt"),
        })
    };
    let raw = cgroup.table("memory.stat");
    json!({
        "cache": field(&raw, "cache"),
        "usage": of(""),
        "swap": of("memsw."),
        "kernel": of("kmem."),
        "kernelTCP": of("kmem.tcp."),
        "raw": raw,
    })
}

/// Lines like `8:0 Read 4096`, and at the end `Total 4096`.
fn block_io(cgroup: Cgroup) -> Value {
    let list = |file: &str| {
        let text = cgroup.text(file);
        let entries = text.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let device = words.next()?;
            let operation = words.next()?;
            let value = words.next()?.parse().ok()?;
            about_device(device, operation, value)
        });
        entries.collect::<Vec<Value>>()
    };
    json!({
        "ioServiceBytesRecursive":
            list("blkio.throttle.io_service_bytes_recursive"),
        "ioServicedRecursive":
            list("blkio.throttle.io_serviced_recursive"),
    })
}
