//! From `create` to `delete`.

use std::fs;

use harness::{Test, claims, needs};

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    the_state_follows_the_verbs,
    what_is_no_verb_for_this_state_changes_nothing,
    what_was_not_started_can_be_deleted,
    a_name_is_taken_once_and_free_again,
    a_command_that_is_not_there_is_told_by_create,
    the_exit_code_is_that_of_the_command,
    a_signal_reaches_the_first_process_or_all,
    more_processes_run_in_it,
    the_file_with_the_number_is_written,
    a_name_is_no_path,
    it_stops_and_goes_on,
    what_is_not_done_is_refused_by_name,
    standard_output_is_the_containers_alone,
];

/// Starts what waits at the gate until it is told to end.
fn sleeper() -> Bundle {
    Bundle::new("trap 'exit 5' TERM; echo started; while :; do sleep 0.1; done")
}

fn the_state_follows_the_verbs() {
    needs::root();
    let mut bundle = sleeper();
    bundle.config["annotations"] = serde_json::json!({"org.x": "y"});
    bundle.create();
    assert_eq!(bundle.status(), "created");
    assert_eq!(bundle.state("id"), "box");
    assert!(bundle.state("ociVersion").as_str().is_some());
    let path = bundle.path().canonicalize().expect("it is there");
    assert_eq!(bundle.state("bundle"), path.to_str().expect("text"));
    assert_eq!(bundle.state("annotations")["org.x"], "y");
    let pid = bundle.pid();
    // Created is not started: nothing of the command has run.
    let name = fs::read_to_string(format!("/proc/{pid}/cmdline"));
    assert!(name.expect("it is there").contains("step06-oci"));
    bundle.does(&["start", "box"]);
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.pid(), pid);
    // What it was made of does not matter any more.
    bundle.does(&["kill", "box", "KILL"]);
    bundle.becomes("stopped");
    assert!(bundle.state("pid").is_null());
    bundle.does(&["delete", "box"]);
    bundle.fails(&["state", "box"]);
}

fn what_is_no_verb_for_this_state_changes_nothing() {
    needs::root();
    let bundle = sleeper();
    bundle.fails(&["state", "box"]);
    bundle.fails(&["start", "box"]);
    bundle.fails(&["kill", "box", "KILL"]);
    bundle.fails(&["delete", "box"]);
    bundle.does(&["delete", "--force", "box"]);
    bundle.create();
    bundle.fails(&["create", "box"]);
    assert_eq!(bundle.status(), "created");
    bundle.does(&["start", "box"]);
    bundle.fails(&["start", "box"]);
    bundle.fails(&["delete", "box"]);
    assert_eq!(bundle.status(), "running");
    bundle.does(&["kill", "box", "9"]);
    bundle.becomes("stopped");
    bundle.fails(&["start", "box"]);
    bundle.fails(&["exec", "box", "true"]);
    let why = bundle.fails(&["kill", "box", "9"]);
    assert!(why.contains("container not running"), "{why}");
    // At the end of each task containerd does this.
    bundle.does(&["kill", "--all", "box", "9"]);
    bundle.does(&["delete", "box"]);
}

fn what_was_not_started_can_be_deleted() {
    needs::root();
    let bundle = Bundle::new("touch /ran");
    bundle.create();
    let waiting = bundle.pid();
    bundle.does(&["delete", "box"]);
    bundle.fails(&["state", "box"]);
    // It may wait for somebody to ask how it ended; then it has none.
    let line = fs::read_to_string(format!("/proc/{waiting}/cmdline"));
    assert_eq!(line.unwrap_or_default(), "");
    assert!(!bundle.root().join("ran").exists());
}

fn a_name_is_taken_once_and_free_again() {
    needs::root();
    let bundle = Bundle::new("true");
    bundle.create();
    let why = bundle.fails(&["create", "box"]);
    assert!(why.contains("already exists"), "{why}");
    bundle.does(&["delete", "--force", "box"]);
    bundle.create();
}

fn a_command_that_is_not_there_is_told_by_create() {
    needs::root();
    let mut bundle = Bundle::new("");
    let args = "/process/args";
    for (command, reason) in [
        ("nothing", "executable file not found in $PATH"),
        ("/bin/nothing", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "permission denied"),
    ] {
        *bundle.config.pointer_mut(args).expect("args") =
            serde_json::json!([command]);
        let why = bundle.is_refused();
        assert!(why.contains(reason), "{why}");
    }
}

fn the_exit_code_is_that_of_the_command() {
    needs::root();
    assert_eq!(Bundle::new("exit 7").exits(), 7);
    // Number 1 can't kill itself; a child of it ends it by its exit code.
    assert_eq!(Bundle::new("sh -c 'kill -9 $$'").exits(), 128 + 9);
}

fn a_signal_reaches_the_first_process_or_all() {
    needs::root();
    let bundle = sleeper();
    bundle.create();
    bundle.does(&["start", "box"]);
    harness::wait_until("started", || {
        let numbers = bundle.does(&["ps", "--format", "json", "box"]);
        numbers.contains(',').then_some(())
    });
    bundle.does(&["kill", "--all", "box", "0"]);
    bundle.fails(&["kill", "box", "NOSUCH"]);
    bundle.does(&["kill", "box"]);
    bundle.becomes("stopped");
}

fn more_processes_run_in_it() {
    needs::root();
    let bundle = sleeper();
    bundle.create();
    // Before the start, too.
    assert_eq!(bundle.does(&["exec", "box", "echo", "early"]), "early");
    bundle.does(&["start", "box"]);
    let script = "echo $A; pwd; id -u; readlink /proc/self/ns/pid; exit 9";
    let output = bundle.tool(&[
        "exec", "--env", "A=b", "--cwd", "/etc", "--user", "7:8", "box", "sh",
        "-c", script,
    ]);
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    let pid = bundle.pid();
    let namespace = fs::read_link(format!("/proc/{pid}/ns/pid"));
    let namespace = namespace.expect("it is there");
    let expected = format!("b\n/etc\n7\n{}\n", namespace.display());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    let why = bundle.fails(&["exec", "box", "nothing"]);
    assert!(why.contains("executable file not found in $PATH"), "{why}");
    let file = bundle.path().join("process.json");
    let process = serde_json::json!({"args": ["sh", "-c", "sleep 9"],
        "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 3, "gid": 3}});
    fs::write(&file, process.to_string()).expect("it is ours");
    bundle.does(&[
        "exec",
        "--detach",
        "--process",
        "process.json",
        "--pid-file",
        "pid",
        "box",
    ]);
    let pid = fs::read_to_string(bundle.path().join("pid")).expect("a file");
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("it runs");
    assert!(status.contains("\nUid:\t3\t3\t3\t3\n"), "{status}");
}

fn the_file_with_the_number_is_written() {
    needs::root();
    let bundle = sleeper();
    bundle.create();
    bundle.does(&["delete", "--force", "box"]);
    bundle.does(&["create", "--pid-file", "pid", "box"]);
    let written = fs::read_to_string(bundle.path().join("pid"));
    assert_eq!(written.expect("a file"), bundle.pid().to_string());
}

fn a_name_is_no_path() {
    needs::root();
    let bundle = sleeper();
    for name in ["../x", "a/b", "", ".", "..", "a b", "-x/", ".hidden"] {
        let output = bundle.tool(&["create", "--", name]);
        assert!(!output.status.success(), "{name}");
        bundle.tool(&["delete", "--force", "--", name]);
    }
    assert!(bundle.path().join("rootfs").exists());
}

fn it_stops_and_goes_on() {
    needs::root();
    let bundle = sleeper();
    bundle.create();
    bundle.does(&["start", "box"]);
    bundle.does(&["pause", "box"]);
    assert_eq!(bundle.status(), "paused");
    bundle.fails(&["pause", "box"]);
    bundle.fails(&["exec", "box", "true"]);
    let exec = ["exec", "--ignore-paused", "box", "echo", "late"];
    let late = std::thread::scope(|threads| {
        let late = threads.spawn(|| bundle.does(&exec));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!late.is_finished());
        bundle.does(&["resume", "box"]);
        late.join().expect("it was executed")
    });
    assert_eq!(late, "late");
    assert_eq!(bundle.status(), "running");
    bundle.fails(&["resume", "box"]);
    bundle.does(&["pause", "box"]);
    bundle.does(&["delete", "--force", "box"]);
}

fn what_is_not_done_is_refused_by_name() {
    needs::root();
    let bundle = sleeper();
    bundle.create();
    for (verb, name) in [
        (&["checkpoint", "box"][..], "checkpoint"),
        (&["restore", "box"], "checkpoint"),
        (&["create", "--preserve-fds", "9", "other"], "descriptor 3"),
        (&["create", "--console-socket", "s", "other"], "terminal"),
    ] {
        let why = bundle.fails(verb);
        assert!(why.contains(name), "{why}");
    }
    // Not even when the log would be in its place.
    let preserve = ["create", "--preserve-fds", "1", "other"];
    let why = bundle.fails(&[&["--log", "log"], &preserve[..]].concat());
    assert!(why.contains("descriptor 3"), "{why}");
    assert!(
        !bundle
            .tool(&["create", "--nothing", "other"])
            .status
            .success()
    );
}

fn standard_output_is_the_containers_alone() {
    needs::root();
    let bundle = Bundle::new("echo out; echo err >&2");
    bundle.create();
    let output = bundle.tool(&["start", "box"]);
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0));
    let bundle = Bundle::new("echo out; echo err >&2");
    assert_eq!(bundle.says(), "out");
}
