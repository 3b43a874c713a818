//! Counters of version 2.

use std::path::Path;

use serde_json::{Value, json};

use super::{Cgroup, about_device, field, pressure, v1::limit};

/// Version 2 counts microseconds, and runc's readers expect nanoseconds.
const MICROSECOND: u64 = 1_000;

pub(super) fn of(directory: &Path) -> Value {
    let cgroup = Cgroup(Some(directory));
    json!({
        "cpu": cpu(cgroup),
        "cpuset": {},
        "memory": memory(cgroup),
        "pids": {
            "current": cgroup.count("pids.current"),
            "limit": limit(cgroup.count("pids.max")),
        },
        "blkio": block_io(cgroup),
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn cpu(cgroup: Cgroup) -> Value {
    let times = cgroup.table("cpu.stat");
    let time = |name| field(&times, name) * MICROSECOND;
    json!({
        "usage": {
            "total": time("usage_usec"),
            "kernel": time("system_usec"),
            "user": time("user_usec"),
        },
        "throttling": {
            "periods": field(&times, "nr_periods"),
            "throttledPeriods": field(&times, "nr_throttled"),
            "throttledTime": time("throttled_usec"),
        },
        "psi": pressure(cgroup, "cpu"),
    })
}

fn memory(cgroup: Cgroup) -> Value {
    let raw = cgroup.table("memory.stat");
    let events = cgroup.table("memory.events");
    let entry = |limit, usage, max, failures| {
        json!({
            "limit": limit, "usage": usage, "max": max, "failcnt": failures,
        })
    };
    let used = cgroup.count("memory.current");
    let swapped = cgroup.count("memory.swap.current");
    let most = cgroup.count("memory.max");
    // As in version 1, where swap is memory and swap together.
    let both = most.saturating_add(cgroup.count("memory.swap.max"));
    json!({
        "cache": field(&raw, "file"),
        "usage": entry(
            most,
            used,
            cgroup.count("memory.peak"),
            field(&events, "max"),
        ),
        "swap": entry(both, used + swapped, 0, 0),
        "kernel": entry(0, field(&raw, "kernel"), 0, 0),
        "kernelTCP": entry(0, field(&raw, "sock"), 0, 0),
        "raw": raw,
        "psi": pressure(cgroup, "memory"),
    })
}

/// Lines like `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn block_io(cgroup: Cgroup) -> Value {
    let text = cgroup.text("io.stat");
    let list = |keys: [(&str, &str); 2]| {
        let mut entries = Vec::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let device = words.next().unwrap_or_default();
            for (name, value) in words.filter_map(|it| it.split_once('=')) {
                let operation = keys.iter().find(|(key, _)| *key == name);
                if let (Some((_, operation)), Ok(value)) =
                    (operation, value.parse())
                {
                    entries.extend(about_device(device, operation, value));
                }
            }
        }
        entries
    };
    json!({
        "ioServiceBytesRecursive":
            list([("rbytes", "Read"), ("wbytes", "Write")]),
        "ioServicedRecursive":
            list([("rios", "Read"), ("wios", "Write")]),
        "psi": pressure(cgroup, "io"),
    })
}
