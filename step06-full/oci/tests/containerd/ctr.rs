//! What people do with `ctr`.

use std::fs;

use harness::{Test, claims, wait_until};
use serde_json::Value;

use crate::{
    image::NAME,
    place::{Containerd, runtime},
};

pub(crate) const TESTS: &[Test] = claims![
    containers_run_in_the_foreground,
    a_container_has_what_the_options_say,
    a_container_in_the_background_is_managed,
];

/// The options of each run.
fn run<'a>(options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    let runtime = Box::leak(Box::new(runtime()));
    let runtime = runtime.to_str().expect("a text");
    let mut arguments = vec!["run", "--snapshotter", "native"];
    arguments.extend(["--runc-binary", runtime]);
    arguments.extend(options);
    arguments.push(NAME);
    arguments.extend(command);
    arguments
}

fn containers_run_in_the_foreground() {
    let containerd = Containerd::start();
    let says = |options: &[&str], command: &[&str]| {
        containerd.says(&run(options, command))
    };
    assert_eq!(says(&["--rm"], &["k1", "echo", "hi"]), "hi\n");

    let ends = &["k2", "sh", "-c", "echo to stderr >&2; exit 7"];
    let output = containerd.ctr(&run(&["--rm"], ends));
    assert_eq!(output.status.code(), Some(7));
    assert!(output.stderr.starts_with(b"to stderr"), "{output:?}");

    let output = containerd.ctr(&run(&["--rm"], &["k3", "nosuch"]));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        error.contains("executable file not found in $PATH"),
        "{error}"
    );

    // On a terminal: script(1) is one.
    let mut line = vec!["ctr".to_owned(), "--address".into()];
    line.push(containerd.socket().display().to_string());
    line.extend(["--namespace".into(), containerd.name.clone()]);
    let arguments = run(&["--rm", "--tty"], &["k4", "tty"]);
    line.extend(arguments.iter().map(|it| (*it).to_owned()));
    let output = containerd
        .command("script")
        .args(["--quiet", "--return", "--command", &line.join(" ")])
        .arg("/dev/null")
        .output()
        .expect("script is there");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("/dev/pts/0"), "{output:?}");
}

fn a_container_has_what_the_options_say() {
    let containerd = Containerd::start();
    let says = |options: &[&str], name: &str, script: &str| {
        let options = [&["--rm"], options].concat();
        containerd.says(&run(&options, &[name, "sh", "-c", script]))
    };
    let status = "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status";
    let plain = says(&[], "o1", status);
    assert!(plain.contains("CapEff:\t00000000a80425fb"), "{plain}");
    assert!(plain.contains("Seccomp:\t0"), "{plain}");
    let filtered = says(&["--seccomp"], "o2", status);
    assert!(filtered.contains("Seccomp:\t2"), "{filtered}");
    let privileged = says(&["--privileged"], "o3", status);
    assert!(!privileged.contains("a80425fb"), "{privileged}");

    let limits = "cat /sys/fs/cgroup/memory.max 2>/dev/null ||
                  cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    // It is nobody's business whether the mount of cgroups shows it.
    let cgroup = ["--memory-limit", "33554432", "--mount"];
    let mount = "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro";
    let options = [&cgroup[..], &[mount]].concat();
    assert_eq!(says(&options, "o4", limits), "33554432\n");

    let shared = containerd.place.path().join("shared");
    fs::create_dir(&shared).expect("the place is ours");
    fs::write(shared.join("file"), "from outside").expect("it is ours");
    let from = shared.display();
    let mount = format!("type=bind,src={from},dst=/mnt,options=rbind:ro");
    let script = "cat /mnt/file; echo x 2>/dev/null >/mnt/new || echo ' only'";
    let text = says(&["--mount", &mount], "o5", script);
    assert_eq!(text, "from outside only\n");

    let bridge = ["link", "add", "test9", "type", "bridge"];
    let made = containerd.command("ip").args(bridge).status();
    assert!(made.expect("ip is there").success());
    let interfaces = "ls /sys/class/net";
    assert_eq!(says(&[], "o6", interfaces), "lo\n");
    assert_eq!(says(&["--net-host"], "o7", interfaces), "lo\ntest9\n");
}

fn a_container_in_the_background_is_managed() {
    let containerd = Containerd::start();
    let says = |arguments: &[&str]| containerd.says(arguments);
    let script =
        "trap 'exit 4' TERM; while :; do echo >>/tmp/n; sleep 0.1; done";
    let options = ["--detach", "--memory-limit", "67108864"];
    says(&run(&options, &["d1", "sh", "-c", script]));
    let exec = |id: &str, script: &str| {
        let task = ["task", "exec", "--exec-id", id, "d1", "sh", "-c", script];
        containerd.ctr(&task)
    };
    let output = exec("e1", "cat /proc/1/comm; exit 9");
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(output.stdout, b"sh\n");

    let list = says(&["task", "ls"]);
    assert!(list.contains("RUNNING"), "{list}");
    let processes = says(&["task", "ps", "d1"]);
    assert!(processes.lines().count() >= 2, "{processes}");
    let metrics = says(&["task", "metrics", "--format", "json", "d1"]);
    let metrics: Value = serde_json::from_str(&metrics).expect("JSON");
    let has = |pointer: &str| metrics.pointer(pointer).is_some();
    assert!(
        has("/memory/usage") || has("/memory/usage/usage"),
        "{metrics}"
    );

    let count = || {
        let output = exec("e2", "wc -l </tmp/n").stdout;
        String::from_utf8(output).expect("a text")
    };
    says(&["task", "pause", "d1"]);
    assert!(says(&["task", "ls"]).contains("PAUSED"));
    says(&["task", "resume", "d1"]);
    let before = count();
    wait_until("it to go on", || (count() != before).then_some(()));

    says(&["task", "kill", "--signal", "SIGTERM", "d1"]);
    wait_until("its end", || {
        says(&["task", "ls"]).contains("STOPPED").then_some(())
    });
    let output = containerd.ctr(&["task", "delete", "d1"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("exit code 4"), "{output:?}");
    says(&["container", "delete", "d1"]);
    assert_eq!(says(&["container", "ls", "--quiet"]), "");
}
