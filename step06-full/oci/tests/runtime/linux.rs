//! Namespaces and what belongs to them.

use std::fs;

use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    new_namespaces_are_new_and_others_the_callers,
    namespaces_that_exist_are_entered,
    a_namespace_of_another_type_is_refused,
    ids_are_mapped,
    a_user_namespace_that_exists_is_entered_with_others,
    the_names_are_those_of_the_file,
    settings_reach_the_containers_namespaces_only,
    the_filter_of_the_file_is_installed,
    another_domain_of_execution,
];

const KINDS: [(&str, &str); 6] = [
    ("pid", "pid"),
    ("mount", "mnt"),
    ("uts", "uts"),
    ("ipc", "ipc"),
    ("network", "net"),
    ("cgroup", "cgroup"),
];

fn link(pid: &str, name: &str) -> String {
    let path = format!("/proc/{pid}/ns/{name}");
    let link = fs::read_link(path).expect("it is there");
    link.display().to_string()
}

fn new_namespaces_are_new_and_others_the_callers() {
    needs::root();
    for (without, _) in KINDS {
        let mut bundle = Bundle::new("sleep 60");
        bundle.push("/linux/namespaces", json!({"type": "cgroup"}));
        bundle.without(without);
        bundle.create();
        let pid = bundle.pid().to_string();
        for (kind, name) in KINDS {
            let same = link("self", name) == link(&pid, name);
            assert_eq!(same, kind == without, "{kind}");
        }
    }
}

fn namespaces_that_exist_are_entered() {
    needs::root();
    let first = {
        let mut bundle = Bundle::new("sleep 60");
        bundle.push("/linux/namespaces", json!({"type": "cgroup"}));
        bundle.create();
        bundle.does(&["start", "box"]);
        bundle
    };
    let pid = first.pid().to_string();
    for (kind, name) in KINDS {
        if kind == "mount" {
            continue;
        }
        let mut bundle = Bundle::new("sleep 60");
        bundle.without(kind);
        let path = format!("/proc/{pid}/ns/{name}");
        let namespace = json!({"type": kind, "path": path});
        bundle.push("/linux/namespaces", namespace);
        bundle.create();
        let own = bundle.pid().to_string();
        for (other, name) in KINDS {
            let same = link(&own, name) == link(&pid, name);
            assert_eq!(same, other == kind, "{kind}: {other}");
        }
        bundle.does(&["start", "box"]);
        bundle.does(&["exec", "box", "true"]);
    }
    assert_eq!(first.status(), "running");
}

fn a_namespace_of_another_type_is_refused() {
    needs::root();
    let mut bundle = Bundle::new("true");
    bundle.without("uts");
    let namespace = json!({"type": "uts", "path": "/proc/self/ns/net"});
    bundle.push("/linux/namespaces", namespace);
    assert!(bundle.is_refused().contains("another type"));
    let mut bundle = Bundle::new("true");
    bundle.without("uts");
    let namespace = json!({"type": "uts", "path": "/etc/passwd"});
    bundle.push("/linux/namespaces", namespace);
    bundle.is_refused();
}

fn mapped() -> Bundle {
    let script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; \
                  echo x > /tmp/new; stat -c %u /tmp/new; sleep 60";
    let mut bundle = Bundle::new(script);
    // Its root can't get there by a path.
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(bundle.path(), closed).expect("it is ours");
    let maps = json!([
        {"containerID": 0, "hostID": 500_000, "size": 1000},
        {"containerID": 1000, "hostID": 700_000, "size": 10},
    ]);
    bundle.config["linux"]["uidMappings"] = maps.clone();
    bundle.config["linux"]["gidMappings"] = maps;
    bundle.push("/linux/namespaces", json!({"type": "user"}));
    bundle.push(
        "/mounts",
        json!({"destination": "/tmp", "type": "tmpfs",
        "source": "tmpfs", "options": ["mode=1777"]}),
    );
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    bundle
}

fn ids_are_mapped() {
    needs::root();
    let bundle = mapped();
    bundle.create();
    bundle.does(&["start", "box"]);
    let pid = bundle.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("it runs");
    assert!(status.contains("\nUid:\t700000\t700000"), "{status}");
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map"));
    let map = map.expect("it runs");
    let map: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(map, ["0", "500000", "1000", "1000", "700000", "10"]);
    assert_eq!(
        bundle.does(&["exec", "--user", "3", "box", "id", "-u"]),
        "3"
    );
}

fn a_user_namespace_that_exists_is_entered_with_others() {
    needs::root();
    let first = mapped();
    first.create();
    first.does(&["start", "box"]);
    let pid = first.pid().to_string();
    let script = "id -u; grep -c . /proc/self/uid_map; echo $$";
    let mut bundle = Bundle::new(script);
    bundle.without("network");
    for (kind, name) in [("user", "user"), ("network", "net")] {
        let path = format!("/proc/{pid}/ns/{name}");
        let namespace = json!({"type": kind, "path": path});
        bundle.push("/linux/namespaces", namespace);
    }
    assert_eq!(bundle.says(), "0\n2\n1");
}

fn the_names_are_those_of_the_file() {
    needs::root();
    let before = fs::read("/proc/sys/kernel/hostname").expect("it is there");
    let mut bundle = Bundle::new("hostname; cat /proc/sys/kernel/domainname");
    bundle.config["hostname"] = json!("other");
    bundle.config["domainname"] = json!("domain");
    assert_eq!(bundle.says(), "other\ndomain");
    // The host's own, by a path. If it were set it would stay as it is.
    let same = String::from_utf8_lossy(&before).trim().to_owned();
    bundle.config["hostname"] = json!(same);
    bundle.without("uts");
    let own = json!({"type": "uts", "path": "/proc/self/ns/uts"});
    bundle.push("/linux/namespaces", own);
    assert!(bundle.is_refused().contains("that of the host"));
    let after = fs::read("/proc/sys/kernel/hostname").expect("it is there");
    assert_eq!(before, after);
}

fn settings_reach_the_containers_namespaces_only() {
    needs::root();
    let script = "cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmni";
    let mut bundle = Bundle::new(script);
    let hosts = |name: &str| {
        let path = format!("/proc/sys/{name}");
        fs::read_to_string(path).expect("it is there")
    };
    let before = [hosts("net/ipv4/ip_forward"), hosts("kernel/shmmni")];
    bundle.config["linux"]["sysctl"] =
        json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"});
    assert_eq!(bundle.says(), "1\n77");
    for kind in ["network", "ipc"] {
        let mut bundle = Bundle::new("true");
        bundle.config["linux"]["sysctl"] = json!({
            "net.ipv4.ip_forward": "1", "kernel.shmmni": "77"});
        bundle.without(kind);
        assert!(bundle.is_refused().contains("that of the host"));
        // The same if it is entered by a path.
        let name = if kind == "ipc" { "ipc" } else { "net" };
        let path = format!("/proc/self/ns/{name}");
        let namespace = json!({"type": kind, "path": path});
        bundle.push("/linux/namespaces", namespace);
        assert!(bundle.is_refused().contains("that of the host"));
    }
    for name in ["kernel.panic", "vm.swappiness", "net/../kernel/panic"] {
        let mut bundle = Bundle::new("true");
        bundle.config["linux"]["sysctl"] = json!({ name: "1" });
        bundle.is_refused();
    }
    let after = [hosts("net/ipv4/ip_forward"), hosts("kernel/shmmni")];
    assert_eq!(before, after);
}

fn the_filter_of_the_file_is_installed() {
    needs::root();
    for no_new_privileges in [true, false] {
        let mut bundle = Bundle::new("mkdir /tmp/x 2>&1; echo end");
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"],
                "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
        });
        let said = bundle.says();
        assert!(said.contains("not supported"), "{said}");
        assert!(said.ends_with("end"), "{said}");
    }
}

fn another_domain_of_execution() {
    needs::root();
    let mut bundle = Bundle::new("cat /proc/self/personality");
    bundle.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    assert_eq!(bundle.says(), "00000008");
    bundle.config["process"]["args"] = json!(["sleep", "60"]);
    bundle.create();
    bundle.does(&["start", "box"]);
    let exec = ["exec", "box", "cat", "/proc/self/personality"];
    assert_eq!(bundle.does(&exec), "00000008");
    bundle.does(&["delete", "--force", "box"]);
    bundle.config["linux"]["personality"] = json!({"domain": "ODD"});
    assert!(bundle.is_refused().contains("ODD"));
}
