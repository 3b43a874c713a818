//! On the kernel: as root, in the trees that the machine has.

use std::{
    fs,
    io::{ErrorKind, Write},
    process::{Child, Command, Stdio},
};

use common::{host::paths::open_directory, sys};
use nix::{fcntl::OFlag, unistd::geteuid};
use serde_json::{Value, json};

use super::*;

/// A cgroup for a test, which is gone afterwards.
struct Made(Cgroup);

impl Drop for Made {
    fn drop(&mut self) {
        self.0.kill_all(libc::SIGKILL).expect("they are killed");
        self.0.remove().expect("it is removed");
    }
}

fn path(name: &str) -> String {
    format!("/step06-oci-test-{}-{name}", std::process::id())
}

fn try_make(name: &str, resources: Value) -> anyhow::Result<Made> {
    let resources = serde_json::from_value(resources).expect("resources");
    let path = path(name);
    let cgroup =
        Cgroup::create(Some(&path), name, false, &resources, |_| Ok(()));
    cgroup.map(|mut made| {
        made.is_taken();
        Made(made)
    })
}

/// `None` where the test can't be run: the reason is printed.
fn make(name: &str, resources: Value) -> Option<Made> {
    if !geteuid().is_root() || !Path::new("/sys/fs/cgroup").is_dir() {
        println!("skipped: needs root, and cgroups");
        return None;
    }
    Some(try_make(name, resources).expect("the cgroup is made"))
}

fn refused(name: &str, resources: Value) -> String {
    let error = try_make(name, resources).err().expect("it is refused");
    format!("{error:#}")
}

impl Made {
    /// A process in it: a shell that runs `script`, and whose input is open.
    fn run(&self, script: &str) -> Child {
        let child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        for part in &self.0.place.parts {
            let file = part.directory.join("cgroup.procs");
            fs::write(file, child.id().to_string()).expect("it may join");
        }
        child
    }

    /// What the script prints.
    fn output(&self, script: &str) -> String {
        let child = self.run(script);
        let output = child.wait_with_output().expect("it ends");
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8(all).expect("a text")
    }

    /// The file of this name, in whatever tree.
    fn read(&self, file: &str) -> String {
        let parts = self.0.place.parts.iter();
        let found = parts
            .filter_map(|it| fs::read_to_string(it.directory.join(file)).ok())
            .next();
        found.expect("there is such a file").trim().to_owned()
    }

    fn is_v2(&self) -> bool {
        self.0.unified().is_some()
    }
}

#[test]
fn limits_are_in_the_files_of_the_kernel() {
    let Some(made) = make(
        "limits",
        json!({
            "memory": {"limit": 33_554_432, "reservation": 16_777_216},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
            "pids": {"limit": 32},
        }),
    ) else {
        return;
    };
    let expected = match made.is_v2() {
        true => [
            ("memory.max", "33554432"),
            ("memory.low", "16777216"),
            ("cpu.weight", "20"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "32"),
        ],
        false => [
            ("memory.limit_in_bytes", "33554432"),
            ("memory.soft_limit_in_bytes", "16777216"),
            ("cpu.shares", "512"),
            ("cpu.cfs_quota_us", "50000"),
            ("pids.max", "32"),
        ],
    };
    for (file, value) in expected {
        assert_eq!(made.read(file), value, "{file}");
    }

    let more = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": -1}});
    let more = serde_json::from_value(more).expect("resources");
    made.0.update(&more).expect("it is changed");
    assert_eq!(made.read("pids.max"), "max");
    let used = json!({"memory": {"limit": 1, "checkBeforeUpdate": true}});
    let used = serde_json::from_value(used).expect("resources");
    let script = "x=1234; while [ ${#x} -lt 1000000 ]; do x=$x$x; done; read x";
    let mut child = made.run(script);
    let stdin = child.stdin.as_mut().expect("it is a pipe");
    stdin.write_all(b"\n").expect("it is read");
    while stats::memory_in_use(&made.0.place) == Some(0) {}
    made.0.update(&used).expect_err("more is in use");
    child.kill().expect("it can be killed");
    child.wait().expect("it is ours");
}

#[test]
fn a_process_is_limited_from_when_it_joins() {
    let Some(made) = make("pids", json!({"pids": {"limit": 1}})) else {
        return;
    };
    let output = made.output("/bin/true; echo ended");
    assert!(output.contains("ork"), "cannot fork: {output}");
    let outside = Command::new("sh").args(["-c", "/bin/true"]).status();
    assert!(outside.expect("there is a shell").success());
}

#[test]
fn devices_are_closed_but_for_those_of_the_rules() {
    let rules = json!([{"allow": false}]);
    let Some(closed) = make("closed", json!({"devices": rules})) else {
        return;
    };
    // The kernel's log is a device, and harmless.
    let script = "exec 2>&1; : >/dev/null && echo null;
                  : </dev/zero && echo zero; : </dev/kmsg && echo kmsg";
    let output = closed.output(script);
    assert!(output.contains("null\nzero"), "{output}");
    assert!(!output.contains("\nkmsg"), "{output}");

    let rules = json!([
        {"allow": false},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ]);
    let open = make("open", json!({"devices": rules})).expect("as above");
    let output = open.output(script);
    assert!(output.ends_with("zero\nkmsg\n"), "{output}");
    let output = open.output(": >>/dev/kmsg && echo written");
    assert!(!output.contains("written"), "{output}");
}

#[test]
fn all_processes_are_stopped_and_go_on() {
    let Some(made) = make("freeze", json!({})) else {
        return;
    };
    let count = tempfile::NamedTempFile::new().expect("a file");
    let path = count.path().display();
    let mut child =
        made.run(&format!("while :; do echo >>{path}; done & wait"));
    child.stdin.take();
    let size = || fs::metadata(count.path()).expect("it is there").len();
    while size() < 100 {}
    assert_eq!(made.0.processes().expect("they are listed").len(), 2);
    assert!(!made.0.is_frozen());

    made.0.freeze().expect("they are stopped");
    assert!(made.0.is_frozen());
    let stopped = size();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(size(), stopped);

    made.0.thaw().expect("they go on");
    while size() == stopped {}

    // Number two is nobody's child: who waits for the first one alone would
    // leave it.
    made.0.freeze().expect("they are stopped");
    made.0.kill_all(libc::SIGKILL).expect("they are killed");
    child.wait().expect("it is ours");
    while !made.0.processes().expect("they are listed").is_empty() {}
}

#[test]
fn it_is_removed_with_what_was_made_below() {
    let Some(made) = make("below", json!({})) else {
        return;
    };
    let directories: Vec<PathBuf> = made
        .0
        .place
        .parts
        .iter()
        .map(|part| part.directory.clone())
        .collect();
    for directory in &directories {
        fs::create_dir_all(directory.join("a/b")).expect("it may");
    }
    // Deeper than a path can be long.
    let name = "n".repeat(250);
    let mut deepest = open_directory(&directories[0]).expect("it is there");
    for _ in 0..20 {
        sys::mkdirat(&deepest, &name, 0o755).expect("it may");
        let next = sys::openat(&deepest, &name, OFlag::O_DIRECTORY, 0);
        deepest = next.expect("it is there");
    }
    made.0.remove().expect("it is removed");
    for directory in &directories {
        let gone = fs::metadata(directory).map(drop);
        let gone = gone.expect_err("it is gone").kind();
        assert_eq!(gone, ErrorKind::NotFound);
    }
    made.0.remove().expect("what is gone is no error");
}

#[test]
fn huge_pages_are_limited_where_they_are_reserved() {
    let layout = Layout::read().expect("they are there");
    let sizes = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB");
    if layout.find("hugetlb").is_err() || !sizes.exists() {
        println!("skipped: needs huge pages of 2 MB, and their controller");
        return;
    }
    let limit = 1 << 30;
    let resources = json!({
        "hugepageLimits": [{"pageSize": "2MB", "limit": limit}],
    });
    let Some(made) = make("hugepages", resources) else {
        return;
    };
    let part = made.0.place.of("hugetlb").expect("it was asked for");
    let name = if part.is_v2 { "max" } else { "limit_in_bytes" };
    for kind in ["", ".rsvd"] {
        let file = format!("hugetlb.2MB{kind}.{name}");
        let is = fs::read_to_string(part.directory.join(file));
        assert_eq!(is.expect("it is there").trim(), limit.to_string());
    }
}

#[test]
fn nothing_is_left_of_what_cannot_be_had() {
    let Some(other) = make("other", json!({})) else {
        return;
    };
    let is_v2 = other.is_v2();
    let error = refused(
        "huge",
        json!({
            "hugepageLimits": [{"pageSize": "3MB", "limit": 0}],
        }),
    );
    assert!(error.contains("hugepageLimits") || error.contains("hugetlb"));
    let error = refused(
        "up",
        json!({
            "hugepageLimits": [{"pageSize": "../..", "limit": 0}],
        }),
    );
    assert!(
        error.contains("what is") || error.contains("hugetlb"),
        "{error}"
    );
    let error = refused(
        "swap",
        json!({
            "memory": {"limit": 67_108_864, "swap": 33_554_432},
        }),
    );
    assert!(error.contains("memory.swap"), "{error}");
    if is_v2 {
        let error = refused(
            "core",
            json!({
                "unified": {"cgroup.procs": "1"},
            }),
        );
        assert!(error.contains("not for limits"), "{error}");
    } else {
        let error = refused("v2", json!({"unified": {"memory.max": "1"}}));
        assert!(error.contains("version 1"), "{error}");
    }
    for name in ["huge", "up", "swap", "core", "v2"] {
        for part in &other.0.place.parts {
            let name = path(name);
            let name = part.directory.with_file_name(&name[1..]);
            assert!(!name.exists(), "{name:?}");
        }
    }
}

/// In a directory in which nobody ever answers, as if one of them waited for a
/// disk.
#[test]
fn who_is_paused_stays_so_when_a_signal_comes() {
    let name = format!("step06-oci-paused-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir(&directory).expect("it is new");
    for (file, text) in [("cgroup.freeze", "1"), ("cgroup.procs", "")] {
        fs::write(directory.join(file), text).expect("it is ours");
    }
    let part = place::Part {
        controllers: vec!["freezer".into()],
        is_v2: true,
        directory: directory.clone(),
        ..place::Part::default()
    };
    let place = Place {
        parts: vec![part],
        ..Place::default()
    };
    processes::kill_all(&place, libc::SIGTERM).expect("there is nobody");
    let asked = fs::read_to_string(directory.join("cgroup.freeze"));
    assert_eq!(asked.expect("it is ours"), "1");
    fs::remove_dir_all(directory).expect("it is ours");
}

#[test]
fn a_cgroup_with_processes_is_somebody_elses() {
    let Some(made) = make("taken", json!({})) else {
        return;
    };
    let mut child = made.run("exit");
    let again = try_make("taken", json!({}));
    let error = format!("{:#}", again.err().expect("it is refused"));
    assert!(error.contains("processes are in the cgroup"), "{error}");
    child.kill().expect("it can be killed");
    child.wait().expect("it is ours");
}

#[test]
fn what_is_used_is_counted() {
    let Some(made) = make("stats", json!({"pids": {"limit": 9}})) else {
        return;
    };
    let script = "x=1234; while [ ${#x} -lt 1000000 ]; do x=$x$x; done;
                  while :; do :; done";
    let mut child = made.run(script);
    child.stdin.take();
    let counted = |pointer: &str| {
        let stats = made.0.stats().expect("there are some");
        let number = stats.pointer(pointer).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("{pointer} in {stats}"))
    };
    while counted("/cpu/usage/total") == 0 {}
    assert_eq!(counted("/pids/current"), 1);
    assert_eq!(counted("/pids/limit"), 9);
    while counted("/memory/usage/usage") == 0 {}
    child.kill().expect("it can be killed");
    child.wait().expect("it is ours");
}
