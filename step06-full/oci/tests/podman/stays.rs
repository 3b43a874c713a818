//! Containers that stay: looked at, stopped, continued, joined.

use harness::{Test, claims, needs};

use crate::engine::{IMAGE, podman, says};

pub(crate) const TESTS: &[Test] = claims![
    a_container_that_stays_from_run_to_rm,
    a_container_stops_and_goes_on,
    a_pod_shares_its_namespaces,
];

/// Deletes the container at the end, however that comes.
struct Container(String);

impl Container {
    fn new(name: &str, options: &[&str], script: &str) -> Container {
        let name = format!("{name}-{}", std::process::id());
        let mut arguments = vec!["run", "--detach", "--name", &name];
        arguments.extend(options);
        arguments.extend([IMAGE, "sh", "-c", script]);
        says(&arguments);
        Container(name)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        podman(&["rm", "--force", "--time", "0", &self.0]);
    }
}

const WAITS: &str = "trap 'echo term; exit 3' TERM; echo started; while :; do \
                     sleep 0.1; done";

fn a_container_that_stays_from_run_to_rm() {
    let container = Container::new("stays", &["--network=none"], WAITS);
    let name = container.0.as_str();
    harness::wait_until("started", || {
        says(&["logs", name]).contains("started").then_some(())
    });
    assert_eq!(says(&["exec", name, "id", "-u"]), "0");
    let script = "readlink /proc/self/fd/0";
    let terminal = says(&["exec", "--tty", name, "sh", "-c", script]);
    assert_eq!(terminal.trim(), "/dev/pts/0");
    let output = podman(&["exec", name, "sh", "-c", "exit 9"]);
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    let output = podman(&["exec", name, "nothing"]);
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    says(&["exec", "--detach", name, "sleep", "50"]);
    assert!(says(&["top", name]).contains("sleep"));
    assert!(says(&["ps"]).contains(name));
    says(&["stop", "--time", "20", name]);
    assert_eq!(says(&["wait", name]), "3");
    assert!(says(&["logs", name]).contains("term"));
    says(&["start", name]);
    says(&["restart", "--time", "1", name]);
    says(&["kill", "--signal", "KILL", name]);
    assert_eq!(says(&["wait", name]), "137");
    says(&["rm", name]);
}

fn a_container_stops_and_goes_on() {
    needs::root();
    let container = Container::new("stops", &["--network=none"], WAITS);
    let name = container.0.as_str();
    says(&["pause", name]);
    assert!(says(&["ps", "--all"]).contains("aused"));
    says(&["unpause", name]);
    says(&["stats", "--no-stream", name]);
    says(&["update", "--memory", "64m", name]);
}

fn a_pod_shares_its_namespaces() {
    let pod = format!("pod-{}", std::process::id());
    says(&[
        "pod",
        "create",
        "--name",
        &pod,
        "--network=none",
        "--infra-image",
        IMAGE,
        "--infra-command",
        "sleep 1000",
        "--share",
        "net,ipc,uts,pid",
    ]);
    let links = "readlink /proc/self/ns/net /proc/self/ns/ipc \
                 /proc/self/ns/uts /proc/self/ns/pid";
    let run =
        || says(&["run", "--rm", "--pod", &pod, IMAGE, "sh", "-c", links]);
    let (first, second) = (run(), run());
    podman(&["pod", "rm", "--force", "--time", "0", &pod]);
    assert_eq!(first, second);
    for (kind, line) in ["net", "ipc", "uts", "pid"].iter().zip(first.lines()) {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}"));
        assert_ne!(own.expect("it is there").display().to_string(), line);
    }
}
