//! `update`: limits as JSON, as engines say them, or as options, for people.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::values::bytes;

#[derive(clap::Args)]
pub(crate) struct Update {
    /// JSON of `linux.resources`, or - for standard input; the other options
    /// are left out then
    #[arg(long, short, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    pub(crate) id: String,
}

#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
struct Limits {
    /// Bytes of memory, with k, m or g; -1 is no limit
    #[arg(long, value_parser = bytes)]
    memory: Option<i64>,
    /// Bytes of memory and swap together
    #[arg(long, value_parser = bytes)]
    memory_swap: Option<i64>,
    /// Bytes that are left to it when memory gets scarce
    #[arg(long, value_parser = bytes)]
    memory_reservation: Option<i64>,
    /// Weight of its share of the processors
    #[arg(long)]
    cpu_share: Option<u64>,
    /// Microseconds of processor time in a period
    #[arg(long)]
    cpu_quota: Option<i64>,
    /// Microseconds of a period
    #[arg(long)]
    cpu_period: Option<u64>,
    /// Microseconds that may be saved up
    #[arg(long)]
    cpu_burst: Option<u64>,
    /// The same as --cpu-quota for real-time processes
    #[arg(long)]
    cpu_rt_runtime: Option<i64>,
    /// The same as --cpu-period for them
    #[arg(long)]
    cpu_rt_period: Option<u64>,
    /// 1: runs when nobody else wants to
    #[arg(long)]
    cpu_idle: Option<i64>,
    /// Processors, such as 0-2,7
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Nodes of memory, such as 0-2,7
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Weight of its share of the disks
    #[arg(long)]
    blkio_weight: Option<u16>,
    /// Number of processes; -1 is no limit, and 0 that there will be no more
    #[arg(long)]
    pids_limit: Option<i64>,
}

impl Update {
    /// The options in the form of `linux.resources`.
    pub(crate) fn as_resources(&self) -> Value {
        let it = &self.limits;
        // In a file 0 is what engines write for "not asked for".
        let pids = it.pids_limit.map(|it| if it == 0 { 1 } else { it });
        let mut resources = json!({
            "memory": {
                "limit": it.memory,
                "swap": it.memory_swap,
                "reservation": it.memory_reservation,
            },
            "cpu": {
                "shares": it.cpu_share,
                "quota": it.cpu_quota,
                "period": it.cpu_period,
                "burst": it.cpu_burst,
                "realtimeRuntime": it.cpu_rt_runtime,
                "realtimePeriod": it.cpu_rt_period,
                "idle": it.cpu_idle,
                "cpus": it.cpuset_cpus,
                "mems": it.cpuset_mems,
            },
            "pids": {"limit": pids},
        });
        if let Some(weight) = it.blkio_weight {
            resources["blockIO"] = json!({ "weight": weight });
        }
        resources
    }
}
