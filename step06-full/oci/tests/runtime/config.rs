//! What the file may say, and what it may not.

use harness::{Test, claims, needs};
use serde_json::{Value, json};

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    what_nobody_knows_is_ignored,
    what_is_not_there_is_written_as_null,
    what_the_specification_forbids_is_an_error,
    what_is_known_and_not_done_is_refused_by_name,
    a_template_is_written_that_runs,
    without_a_process_there_is_nothing_to_start,
];

fn what_nobody_knows_is_ignored() {
    needs::root();
    let mut bundle = Bundle::new("echo here");
    bundle.config["x-of-mine"] = json!({"deep": [1]});
    bundle.config["process"]["something"] = json!("new");
    bundle.config["linux"]["something"] = json!(true);
    bundle.config["annotations"] = json!({"unknown.key": "value"});
    assert_eq!(bundle.says(), "here");
}

fn what_is_not_there_is_written_as_null() {
    needs::root();
    let mut bundle = Bundle::new("echo here");
    bundle.config["hooks"] = Value::Null;
    bundle.config["process"]["rlimits"] = Value::Null;
    bundle.config["linux"]["devices"] = Value::Null;
    assert_eq!(bundle.says(), "here");
}

fn is_refused(pointer: &str, value: Value, because: &str) {
    let mut bundle = Bundle::new("true");
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = bundle.config.pointer_mut(parent).expect("it is there");
    parent[name] = value;
    let why = bundle.is_refused();
    assert!(why.contains(because), "{pointer}: {why}");
}

fn what_the_specification_forbids_is_an_error() {
    needs::root();
    is_refused("/ociVersion", json!("one"), "ociVersion");
    is_refused("/ociVersion", json!("2.0.0"), "ociVersion 2.0.0");
    is_refused("/ociVersion", Value::Null, "ociVersion");
    is_refused("/root", Value::Null, "root");
    is_refused("/root", json!({"path": "nowhere"}), "nowhere");
    is_refused("/process/args", json!([]), "process.args");
    is_refused("/process/cwd", json!("here"), "process.cwd");
    is_refused("/process/user", json!({"uid": -1}), "-1");
    let limit = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
    is_refused("/process/rlimits", json!([limit, limit]), "twice");
    let limit = json!({"type": "RLIMIT_X", "soft": 0, "hard": 0});
    is_refused("/process/rlimits", json!([limit]), "RLIMIT_X");
    for nobody in [json!({"uid": u32::MAX}), json!({"gid": u32::MAX})] {
        is_refused("/process/user", nobody, "no id");
    }
    let scheduler = json!({"policy": "SCHED_ODD"});
    is_refused("/process/scheduler", scheduler, "SCHED_ODD");
    let disks = json!({"class": "IOPRIO_CLASS_BE", "priority": 8});
    is_refused("/process/ioPriority", disks, "0 and 7");
    let twice = json!([{"type": "mount"}, {"type": "mount"}]);
    is_refused("/linux/namespaces", twice, "twice");
    let unknown = json!([{"type": "mount"}, {"type": "odd"}]);
    is_refused("/linux/namespaces", unknown, "odd");
    let relative = json!([{"type": "mount"}, {"type": "uts", "path": "x"}]);
    is_refused("/linux/namespaces", relative, "not absolute");
    let without = json!([{"type": "pid"}, {"type": "user"}]);
    is_refused("/linux/namespaces", without, "mount");
    let mount_alone = json!([{"type": "mount"}]);
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["namespaces"] = mount_alone;
    bundle.config["hostname"] = json!("box");
    assert!(bundle.is_refused().contains("uts"));
    let hook = json!({"prestart": [{"path": "relative"}]});
    is_refused("/hooks", hook, "not absolute");
    let hook = json!({"poststop": [{"path": "/x", "timeout": 0}]});
    is_refused("/hooks", hook, "timeout");
    is_refused("/linux/rootfsPropagation", json!("odd"), "odd");
    let mount = json!([{"destination": "/x", "type": "bind",
        "source": "/", "options": ["bind", "odd"]}]);
    is_refused("/mounts", mount, "odd");
    is_refused("/annotations", json!({"": "x"}), "annotation");
}

fn what_is_known_and_not_done_is_refused_by_name() {
    needs::root();
    for (pointer, value) in [
        ("/linux/intelRdt", json!({"closID": "x"})),
        ("/vm", json!({"kernel": {"path": "/x"}})),
    ] {
        let name = pointer.trim_start_matches('/').replace('/', ".");
        is_refused(pointer, value, &format!("{name} is not supported"));
    }
    let maps = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let mount = json!([{"destination": "/x", "type": "tmpfs", "source": "t",
        "uidMappings": maps}]);
    is_refused("/mounts", mount, "ids can't be mapped");
    let mount = json!([{"destination": "/x", "type": "bind", "source": "/",
        "options": ["bind"], "uidMappings": maps}]);
    is_refused("/mounts", mount, "takes uidMappings and gidMappings");
}

fn a_template_is_written_that_runs() {
    needs::root();
    let mut bundle = Bundle::new("true");
    bundle.does(&["spec"]);
    let path = bundle.path().join("config.json");
    bundle.fails(&["spec"]);
    let text = std::fs::read(&path).expect("it was written");
    bundle.config = serde_json::from_slice(&text).expect("JSON");
    bundle.config["process"]["terminal"] = json!(false);
    bundle.config["process"]["args"] = json!(["hostname"]);
    assert_eq!(bundle.says(), "box");
}

fn without_a_process_there_is_nothing_to_start() {
    needs::root();
    let mut bundle = Bundle::new("true");
    bundle.config["process"] = Value::Null;
    bundle.create();
    assert_eq!(bundle.status(), "created");
    let why = bundle.fails(&["start", "box"]);
    assert!(why.contains("without a process"), "{why}");
    assert_eq!(bundle.status(), "created");
}
