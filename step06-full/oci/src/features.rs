//! `features`: what this runtime can do, for callers that ask before they call.
//! See features.md of the specification.

use serde_json::{Value, json};

use crate::{
    capabilities, config::VERSION, filter, mounts, namespaces, places,
};

/// All of it.
pub(crate) fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ],
        "mountOptions": mounts::names(),
        "linux": {
            "namespaces": namespaces::kinds(),
            "capabilities": capabilities::names(),
            "cgroup": {
                "v1": true,
                "v2": true,
                "systemd": true,
                "systemdUser": true,
                "rdma": true,
            },
            "seccomp": filter::features(),
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": false},
            "memoryPolicy": places::features(),
            "netDevices": {"enabled": true},
            "mountExtensions": {"idmap": {"enabled": true}},
        },
        "potentiallyUnsafeConfigAnnotations": [],
    })
}
