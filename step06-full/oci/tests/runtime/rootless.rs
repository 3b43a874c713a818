//! The same for a plain user, as far as the kernel allows it.

use std::{fs, process::Command};

use harness::{Test, claims, needs};
use nix::unistd::{getegid, geteuid};
use serde_json::json;

use crate::bundle::{Bundle, program};

pub(crate) const TESTS: &[Test] = claims![
    a_plain_user_has_containers,
    a_plain_user_gets_no_ids_of_others,
    a_plain_user_sets_no_clocks_where_he_joins,
    what_is_no_container_is_told_to_everybody,
];

fn bundle(script: &str) -> Bundle {
    needs::plain_user();
    needs::user_namespaces();
    let mut bundle = Bundle::new(script);
    let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    bundle.config["linux"]["uidMappings"] = map(geteuid().as_raw());
    bundle.config["linux"]["gidMappings"] = map(getegid().as_raw());
    bundle.push("/linux/namespaces", json!({"type": "user"}));
    bundle
}

fn a_plain_user_has_containers() {
    let bundle = bundle("id -u; echo x > /dev/null; sleep 60");
    bundle.create();
    assert_eq!(bundle.status(), "created");
    bundle.does(&["start", "box"]);
    assert_eq!(bundle.does(&["exec", "box", "id", "-u"]), "0");
    let map = fs::read_to_string(format!("/proc/{}/uid_map", bundle.pid()));
    assert!(map.expect("it runs").contains(&geteuid().to_string()));
    bundle.does(&["kill", "box", "KILL"]);
    bundle.becomes("stopped");
    bundle.does(&["delete", "box"]);
}

fn a_plain_user_gets_no_ids_of_others() {
    let mut bundle = bundle("true");
    bundle.config["linux"]["uidMappings"] =
        json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    bundle.is_refused();
    let mut bundle = self::bundle("true");
    bundle.without("user");
    bundle.config["linux"]["uidMappings"] = json!([]);
    bundle.config["linux"]["gidMappings"] = json!([]);
    assert!(bundle.is_refused().contains("needs a namespace user"));
    let mut bundle = self::bundle("true");
    bundle.config["process"]["user"] = json!({"uid": 5, "gid": 5});
    assert!(bundle.is_refused().contains("who is not mapped"));
    let mut bundle = self::bundle("true");
    let user = json!({"uid": 0, "gid": 0, "additionalGids": [0]});
    bundle.config["process"]["user"] = user;
    assert!(bundle.is_refused().contains("nobody may change"));
    let mut bundle = self::bundle("true");
    bundle.config["root"]["path"] = json!("/root");
    assert!(bundle.is_refused().contains("root.path"));
}

/// The files of a process that has entered a user namespace are root's.
fn a_plain_user_sets_no_clocks_where_he_joins() {
    let first = bundle("sleep 60");
    first.create();
    let mut bundle = bundle("true");
    bundle.without("user");
    let path = format!("/proc/{}/ns/user", first.pid());
    bundle.push("/linux/namespaces", json!({"type": "user", "path": path}));
    bundle.config["linux"]["uidMappings"] = json!([]);
    bundle.config["linux"]["gidMappings"] = json!([]);
    bundle.push("/linux/namespaces", json!({"type": "time"}));
    bundle.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}});
    assert!(bundle.is_refused().contains("joined by its path"));
}

/// They need no place for states.
fn what_is_no_container_is_told_to_everybody() {
    for verb in [&["features"][..], &["--version"]] {
        let mut program = Command::new(program());
        program.args(verb).env_remove("XDG_RUNTIME_DIR");
        let output = program.output().expect("it is there");
        assert!(output.status.success(), "{output:?}");
    }
}
