//! `spec`: a `config.json` to begin with.

use std::{fs::File, io::Write, path::Path};

use anyhow::Context;
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

/// Writes it into the directory `bundle`, unless there is one.
pub(crate) fn write(bundle: &Path, rootless: bool) -> anyhow::Result<()> {
    let path = bundle.join("config.json");
    let mut file =
        File::create_new(&path).with_context(|| format!("making {path:?}"))?;
    let mut config = config();
    if rootless {
        without_root(&mut config);
    }
    writeln!(file, "{config:#}").with_context(|| format!("writing {path:?}"))
}

/// A shell, with step 6's isolation.
fn config() -> Value {
    let kept = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let hidden = ["nosuid", "noexec", "nodev"];
    let mount = |place: &str, kind: &str, options: &[&str]| {
        json!({
            "destination": place,
            "type": kind,
            "source": kind,
            "options": options,
        })
    };
    json!({
        // Nothing in it is newer, and older runtimes can read it.
        "ociVersion": "1.0.2",
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:\
                 /sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": kept,
                "effective": kept,
                "permitted": kept,
            },
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024},
            ],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &[
                "nosuid", "strictatime", "mode=755", "size=65536k",
            ]),
            mount("/dev/pts", "devpts", &[
                "nosuid", "noexec", "newinstance", "ptmxmode=0666",
                "mode=0620", "gid=5",
            ]),
            mount("/dev/shm", "tmpfs", &[
                "nosuid", "noexec", "nodev", "mode=1777", "size=65536k",
            ]),
            mount("/dev/mqueue", "mqueue", &hidden),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &[
                "nosuid", "noexec", "nodev", "relatime", "ro",
            ]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"},
                {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"},
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
                "/sys/firmware", "/sys/devices/virtual/powercap",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                "/proc/sysrq-trigger",
            ],
        },
    })
}

/// What a plain user may ask for: a user namespace, no limits, and no group but
/// the own one.
fn without_root(config: &mut Value) {
    let map =
        |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1}]);
    let linux = &mut config["linux"];
    linux["uidMappings"] = map(geteuid().as_raw());
    linux["gidMappings"] = map(getegid().as_raw());
    linux["resources"] = json!({});
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.push(json!({"type": "user"}));
    }
    let mounts = config["mounts"].as_array_mut();
    for mount in mounts.into_iter().flatten() {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
}
