//! Mounts and processes that are also the host's, or somebody else's.

use std::fs;

use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    who_shares_a_mount_namespace_finds_it_unchanged,
    a_root_that_covers_the_hosts_is_all_there_is,
    ids_of_a_mount_are_mapped,
    a_start_that_fails_leaves_no_process_behind,
];

/// The runtime's own, unlisted or by a path, and that of somebody else.
fn who_shares_a_mount_namespace_finds_it_unchanged() {
    needs::root();
    let mut keeper = std::process::Command::new("unshare")
        .args(["--mount", "sleep", "60"])
        .spawn()
        .expect("there is unshare");
    let other = keeper.id().to_string();
    let namespace = |pid: &str| format!("/proc/{pid}/ns/mnt");
    let link = |pid: &str| fs::read_link(namespace(pid)).expect("it is there");
    harness::wait_until("a namespace", || {
        (link("self") != link(&other)).then_some(())
    });
    let seen = |pid: &str| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"));
        let root = fs::metadata(format!("/proc/{pid}/root"));
        let inode = std::os::unix::fs::MetadataExt::ino(&root.expect("it"));
        (mounts.expect("it is there"), inode)
    };
    for (shared, path) in [
        ("self", None),
        ("self", Some(namespace("self"))),
        (&other, Some(namespace(&other))),
    ] {
        let before = seen(shared);
        let mut bundle = Bundle::new("ls /dev/null /mark; sleep 60");
        fs::write(bundle.root().join("mark"), "").expect("it is ours");
        bundle.without("mount");
        if let Some(path) = path {
            let entry = json!({"type": "mount", "path": path});
            bundle.push("/linux/namespaces", entry);
        }
        bundle.create();
        let pid = bundle.pid().to_string();
        assert_eq!(link(&pid), link(shared));
        bundle.does(&["start", "box"]);
        let script = "cd ..; ls /dev/null mark; ls / | grep -c boot; true";
        let said = bundle.does(&["exec", "box", "sh", "-c", script]);
        assert_eq!(said, "/dev/null\nmark\n0");
        assert_eq!(seen(shared), before);
        bundle.does(&["delete", "--force", "box"]);
        assert_eq!(seen(shared), before);
    }
    keeper.kill().expect("it is ours");
    keeper.wait().expect("it is ours");
}

fn a_root_that_covers_the_hosts_is_all_there_is() {
    needs::root();
    let bundle = Bundle::new("sleep 60");
    bundle.create_with(&["--no-pivot"]);
    bundle.does(&["start", "box"]);
    let script = "cd /..; ls -d boot bin /proc/1/root/boot; true";
    let said = bundle.does(&["exec", "box", "sh", "-c", script]);
    assert_eq!(said, "bin");
}

fn ids_of_a_mount_are_mapped() {
    needs::root();
    let map = json!([{"containerID": 0, "hostID": 500_000, "size": 1000}]);
    for options in [&["bind"][..], &["rbind", "ridmap"]] {
        let script = "stat -c %u:%g /x/file; echo > /x/new || true";
        let mut bundle = Bundle::new(script);
        let place = bundle.path().join("source");
        fs::create_dir(&place).expect("it is ours");
        fs::write(place.join("file"), "").expect("it is ours");
        bundle.push(
            "/mounts",
            json!({"destination": "/x", "type": "bind", "source": "source",
                "options": options, "uidMappings": map, "gidMappings": map}),
        );
        // Root of the container is none of those.
        bundle.create();
        bundle.does(&["start", "box"]);
        bundle.becomes("stopped");
        bundle.does(&["delete", "box"]);
        assert!(!place.join("new").exists());
        assert!(bundle.says().starts_with("500000:500000"));
    }
}

/// In a PID namespace that is not its own, its children do not end with it.
fn a_start_that_fails_leaves_no_process_behind() {
    needs::root();
    let mut bundle = Bundle::new("sleep 60 & touch /two; sleep 60");
    bundle.without("pid");
    let two = bundle.root().join("two").display().to_string();
    let script = format!("until test -e {two}; do sleep 0.1; done; exit 3");
    bundle.config["hooks"]["poststart"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    bundle.create();
    let why = bundle.fails(&["start", "box"]);
    assert!(why.contains("poststart"), "{why}");
    assert_eq!(bundle.status(), "stopped");
    let cgroup = crate::taken::cgroup_of(&bundle).join("cgroup.procs");
    harness::wait_until("the end of all", || {
        let left = fs::read_to_string(&cgroup).expect("it is there");
        left.is_empty().then_some(())
    });
}
