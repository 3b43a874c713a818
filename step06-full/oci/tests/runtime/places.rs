//! Where on the machine a process is: its processors, and its memory.

use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    it_gets_memory_where_the_file_says,
    an_exec_runs_on_the_processors_of_the_file,
];

fn it_gets_memory_where_the_file_says() {
    needs::root();
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        harness::skip("needs a kernel that knows of nodes (CONFIG_NUMA)");
    }
    let mut bundle = Bundle::new("cat /proc/self/numa_maps");
    bundle.config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND",
        "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    assert!(bundle.says().contains("bind=static:0"));
    for (policy, because) in [
        (json!({"mode": "BIND", "nodes": "0"}), "BIND"),
        (json!({"nodes": "0"}), "there is no"),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}),
            "too large",
        ),
        (json!({"mode": "MPOL_BIND", "flags": ["X"]}), "X"),
        (json!({"mode": "MPOL_BIND"}), "set_mempolicy(0x2, [], "),
    ] {
        bundle.config["linux"]["memoryPolicy"] = policy;
        let why = bundle.is_refused();
        assert!(why.contains(because), "{why}");
    }
}

fn an_exec_runs_on_the_processors_of_the_file() {
    needs::root();
    let mut bundle = Bundle::new("sleep 60");
    bundle.config["process"]["execCPUAffinity"] =
        json!({"initial": "0", "final": "0"});
    bundle.create();
    bundle.does(&["start", "box"]);
    let list = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let said = bundle.does(&[&["exec", "box"], &list[..]].concat());
    assert_eq!(said.split_whitespace().last(), Some("0"));
    let first = std::fs::read_to_string("/proc/self/status");
    let own = format!("/proc/{}/status", bundle.pid());
    let its = std::fs::read_to_string(own).expect("it runs");
    // It is not for the container's first process.
    let line = |text: &str| {
        let mut lines = text.lines();
        lines
            .find(|it| it.starts_with("Cpus_allowed_list"))
            .map(str::to_owned)
    };
    assert_eq!(line(&its), line(&first.expect("it is there")));
}
