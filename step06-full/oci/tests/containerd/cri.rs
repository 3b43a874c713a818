//! What a kubelet asks for.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Test, claims, skip};
use serde_json::{Value, json};

use crate::{image::NAME, place::Containerd};

pub(crate) const TESTS: &[Test] = claims![
    a_pod_has_two_containers,
    a_container_whose_probe_fails_is_replaced,
    a_container_that_takes_too_much_memory_is_reported,
];

/// A pod of a containerd, and who speaks to it.
struct Pod {
    client: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    id: String,
    config: Value,
    containerd: Containerd,
}

/// States of a container. See `ContainerState` in the CRI.
const RUNNING: i64 = 1;
const EXITED: i64 = 2;

/// Which namespaces containers share: `NamespaceMode` in the CRI.
const POD: i64 = 0;
const CONTAINER: i64 = 1;
const NODE: i64 = 2;

impl Pod {
    fn start() -> Pod {
        let python = "/usr/bin/python3";
        let test = Command::new(python).args(["-c", "import grpc"]).output();
        if !test.is_ok_and(|output| output.status.success()) {
            skip("needs grpc for Python (package python3-grpcio)");
        }
        let containerd = Containerd::start();
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/containerd");
        let sources = Path::new(sources);
        let mut client = Command::new(python)
            .arg(sources.join("cri.py"))
            .arg(sources.join("cri.proto"))
            .arg(containerd.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python is there");
        // Debian's plugins make the pod's network.
        let has_network = Path::new("/usr/lib/cni/bridge").exists();
        let network = if has_network { POD } else { NODE };
        let config = json!({
            "metadata": {"name": "p", "uid": "u", "namespace": "n"},
            "hostname": "pod1",
            "log_directory": containerd.place.path().join("logs"),
            "linux": {
                "cgroup_parent": format!("/{}", containerd.name),
                "security_context": {
                    "namespace_options": {"network": network, "pid": CONTAINER},
                },
            },
        });
        let mut pod = Pod {
            stdin: client.stdin.take().expect("it is a pipe"),
            stdout: BufReader::new(client.stdout.take().expect("a pipe")),
            client,
            id: String::new(),
            config,
            containerd,
        };
        let request =
            json!({"config": pod.config, "runtime_handler": "step06"});
        let made = pod.call("RunPodSandbox", &request);
        pod.id = text(&made, "/pod_sandbox_id");
        pod
    }

    /// A call, and its response; or what `error` says.
    fn try_call(&mut self, method: &str, request: &Value) -> Value {
        let line = json!([method, request]).to_string();
        harness::note(line.clone());
        writeln!(self.stdin, "{line}").expect("the client listens");
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("the client answers");
        harness::note(line.clone());
        serde_json::from_str(&line).expect("it is JSON")
    }

    fn call(&mut self, method: &str, request: &Value) -> Value {
        let response = self.try_call(method, request);
        let error = response.get("error");
        assert!(
            error.is_none(),
            "{method}: {error:?}\n{}",
            self.containerd.log()
        );
        response
    }

    /// Makes a container of the pod, without starting it.
    fn create(&mut self, name: &str, attempt: u32, more: Value) -> String {
        let mut config = json!({
            "metadata": {"name": name, "attempt": attempt},
            "image": {"image": NAME},
            "log_path": format!("{name}.log"),
            "linux": {
                "resources": {"memory_limit_in_bytes": 64 << 20},
                "security_context": {
                    "namespace_options":
                        self.config["linux"]["security_context"]
                            ["namespace_options"],
                    "no_new_privs": true,
                    // RuntimeDefault
                    "seccomp": {"profile_type": 0},
                },
            },
        });
        merge(&mut config, more);
        let request = json!({
            "pod_sandbox_id": self.id,
            "config": config,
            "sandbox_config": self.config,
        });
        text(&self.call("CreateContainer", &request), "/container_id")
    }

    /// Makes and starts a container that runs `script`.
    fn run(&mut self, name: &str, attempt: u32, script: &str) -> String {
        let command = json!({"command": ["sh", "-c", script]});
        let id = self.create(name, attempt, command);
        self.call("StartContainer", &json!({"container_id": id}));
        id
    }

    /// What a script prints in the container, and its exit code.
    fn exec(&mut self, id: &str, script: &str) -> (String, i64) {
        let request = json!({
            "container_id": id, "cmd": ["sh", "-c", script], "timeout": 20,
        });
        let done = self.call("ExecSync", &request);
        let output = [text(&done, "/stdout"), text(&done, "/stderr")];
        let output: String = output.iter().map(|it| decode(it)).collect();
        (output, number(&done, "/exit_code"))
    }

    fn status(&mut self, id: &str) -> Value {
        let status = self.call("ContainerStatus", &json!({"container_id": id}));
        status["status"].clone()
    }

    /// Waits until it has ended, and returns its last status.
    fn ended(&mut self, id: &str) -> Value {
        let start = Instant::now();
        loop {
            let status = self.status(id);
            if number(&status, "/state") == EXITED {
                return status;
            }
            let time = start.elapsed();
            assert!(time < Duration::from_secs(30), "{status}");
            sleep(Duration::from_millis(100));
        }
    }

    fn stop(&mut self, id: &str) {
        let request = json!({"container_id": id, "timeout": 5});
        self.call("StopContainer", &request);
    }

    fn remove(&mut self, id: &str) {
        self.call("RemoveContainer", &json!({"container_id": id}));
    }

    /// As a kubelet ends a pod; and whether anything of it is left.
    fn end(mut self) {
        let id = json!({"pod_sandbox_id": self.id});
        self.call("StopPodSandbox", &id);
        self.call("RemovePodSandbox", &id);
        let name = &self.containerd.name;
        let left = self
            .containerd
            .command("sh")
            .args([
                "-c",
                "ls /run/containerd/runc/k8s.io; printf %s \"$@\"",
                "-",
            ])
            .args(cgroups_below(name))
            .output()
            .expect("it runs");
        assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// The cgroups in that of the pods, in all trees.
fn cgroups_below(name: &str) -> Vec<String> {
    let trees = fs::read_dir("/sys/fs/cgroup").expect("there are cgroups");
    let parents = trees.flatten().map(|entry| entry.path().join(name));
    let entries = parents.filter_map(|it| fs::read_dir(it).ok()).flatten();
    entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.path().display().to_string())
        .collect()
}

fn text(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("{pointer} in {value}"))
        .to_owned()
}

/// JSON has numbers of 64 bits as texts.
fn number(value: &Value, pointer: &str) -> i64 {
    let number = value.pointer(pointer);
    let found = number.and_then(|number| match number {
        Value::String(text) => text.parse().ok(),
        number => number.as_i64(),
    });
    found.unwrap_or_else(|| panic!("{pointer} in {value}"))
}

/// JSON has bytes in base 64.
fn decode(text: &str) -> String {
    let letters: Vec<u8> = (b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .chain(b'0'..=b'9')
        .chain(*b"+/")
        .collect();
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter(|it| *it != b'=') {
        let value = letters.iter().position(|it| *it == letter);
        let value = value.expect("a letter of base 64");
        bits = bits << 6 | u32::try_from(value).expect("six bits");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("a byte"));
        }
    }
    String::from_utf8(bytes).expect("a text")
}

/// Puts the keys of `more` into `value`, objects into objects.
fn merge(value: &mut Value, more: Value) {
    match (value, more) {
        (Value::Object(value), Value::Object(more)) => {
            for (key, more) in more {
                merge(value.entry(key).or_insert(Value::Null), more);
            }
        }
        (value, more) => *value = more,
    }
}

fn a_pod_has_two_containers() {
    let mut pod = Pod::start();
    let script = "echo started; trap 'exit 4' TERM;
                  while :; do sleep 0.1; done";
    let one = pod.run("one", 0, script);
    let more = json!({
        "command": ["sh", "-c", script],
        "envs": [{"key": "A", "value": "b"}],
        "linux": {"security_context": {
            "run_as_user": {"value": 65534},
            "readonly_rootfs": true,
            "masked_paths": ["/proc/kcore"],
            "readonly_paths": ["/proc/sys"],
        }},
    });
    let two = pod.create("two", 0, more);
    pod.call("StartContainer", &json!({"container_id": two}));

    // What they share: the name and the network.
    let (names, _) = pod.exec(&one, "hostname");
    assert_eq!(names, "pod1\n");
    let address = "ip -4 -o addr show scope global | grep -o '10[.0-9]*/24'";
    let addresses = [pod.exec(&one, address), pod.exec(&two, address)];
    assert_eq!(addresses[0], addresses[1]);
    let id = json!({"pod_sandbox_id": pod.id});
    let status = pod.call("PodSandboxStatus", &id);
    let ip = text(&status, "/status/network/ip");
    assert!(addresses[0].0.starts_with(&ip), "{ip}: {addresses:?}");

    // What each has for itself: the user, the rights, the processes.
    let (seen, _) = pod.exec(&two, "id -u; echo $A; echo x >/x; echo $$");
    assert!(seen.starts_with("65534\nb\n"), "{seen}");
    assert!(seen.contains("ead-only"), "{seen}");
    let (rights, _) =
        pod.exec(&one, "grep -E '^(NoNew|Seccomp:|CapBnd)' /proc/self/status");
    assert!(rights.contains("NoNewPrivs:\t1"), "{rights}");
    assert!(rights.contains("Seccomp:\t2"), "{rights}");
    assert!(rights.contains("00000000a80425fb"), "{rights}");
    assert_eq!(pod.exec(&one, "exit 6").1, 6);
    let nosuch = json!({"container_id": one, "cmd": ["nosuch"], "timeout": 9});
    let nosuch = pod.try_call("ExecSync", &nosuch)["error"].to_string();
    assert!(nosuch.contains("executable file not found"), "{nosuch}");

    let stats = pod.call("ContainerStats", &json!({"container_id": one}));
    let used = number(&stats, "/stats/memory/working_set_bytes/value");
    assert!(used < 64 << 20, "{stats}");
    assert!(number(&stats, "/stats/cpu/usage_core_nano_seconds/value") > 0);
    let more = json!({"memory_limit_in_bytes": 32 << 20});
    let update = json!({"container_id": one, "linux": more});
    pod.call("UpdateContainerResources", &update);
    let limit = "cat /sys/fs/cgroup/memory.max 2>/dev/null ||
                 cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    assert_eq!(pod.exec(&one, limit).0, format!("{}\n", 32 << 20));

    let log = pod.containerd.place.path().join("logs/one.log");
    let log = fs::read_to_string(log).expect("there is a log");
    assert!(log.ends_with("stdout F started\n"), "{log}");
    for id in [one, two] {
        pod.stop(&id);
        let status = pod.ended(&id);
        assert_eq!(number(&status, "/exit_code"), 4, "{status}");
        pod.remove(&id);
    }
    pod.end();
}

/// The kubelet runs a command in the container again and again. If it fails, the
/// container is ended, and the next attempt takes its place.
fn a_container_whose_probe_fails_is_replaced() {
    let mut pod = Pod::start();
    let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let first = pod.run("one", 0, script);
    let probe = "test -e /tmp/ill && exit 1; echo well";
    assert_eq!(pod.exec(&first, probe), ("well\n".into(), 0));
    pod.exec(&first, ": >/tmp/ill");
    assert_eq!(pod.exec(&first, probe).1, 1);

    pod.stop(&first);
    pod.ended(&first);
    let second = pod.run("one", 1, script);
    pod.remove(&first);
    assert_eq!(number(&pod.status(&second), "/state"), RUNNING);
    assert_eq!(pod.exec(&second, probe), ("well\n".into(), 0));

    // A command that is not there ends before it begins.
    let nosuch = pod.create("nosuch", 0, json!({"command": ["nosuch"]}));
    let error =
        pod.try_call("StartContainer", &json!({"container_id": nosuch}));
    let error = error["error"].to_string();
    assert!(error.contains("executable file not found"), "{error}");
    pod.end();
}

fn a_container_that_takes_too_much_memory_is_reported() {
    let mut pod = Pod::start();
    let script = "x=1234; while :; do x=$x$x; done";
    let id = pod.run("greedy", 0, script);
    let status = pod.ended(&id);
    assert_eq!(text(&status, "/reason"), "OOMKilled", "{status}");
    assert_eq!(number(&status, "/exit_code"), 137, "{status}");
    pod.end();
}
