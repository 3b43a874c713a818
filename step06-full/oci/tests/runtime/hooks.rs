//! Hooks: when they run, where, and what they get.

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::{Test, claims, needs};
use serde_json::{Value, json};

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    the_six_kinds_run_in_their_order,
    the_state_is_on_standard_input,
    a_hook_of_create_that_fails_is_the_end_of_it,
    a_hook_of_the_start_that_fails_is_the_end_of_it,
    a_hook_behind_the_start_that_fails_ends_what_runs,
    a_hook_behind_the_end_that_fails_stops_nothing,
    a_hook_that_takes_too_long_is_killed,
    a_hook_ends_with_what_it_is_run_for,
    hooks_of_the_container_run_in_its_namespaces,
    what_a_hook_prints_is_not_the_containers,
    a_hook_in_the_container_has_the_environment_of_the_process,
];

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

fn shell(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn the_six_kinds_run_in_their_order() {
    needs::root();
    let mut bundle = Bundle::new("echo process >> /log; sleep 60");
    let log = bundle.root().join("log");
    let place = log.display().to_string();
    for kind in KINDS {
        let log = if kind == "startContainer" {
            "/log"
        } else {
            &place
        };
        bundle.config["hooks"][kind] =
            shell(&format!("echo {kind} >> {log}; echo again >> {log}"));
    }
    bundle.create();
    let created =
        "prestart\nagain\ncreateRuntime\nagain\ncreateContainer\nagain\n";
    assert_eq!(read(&log), created);
    bundle.does(&["start", "box"]);
    harness::wait_until("process", || {
        let text = read(&log);
        let all = ["process", "poststart"];
        all.iter().all(|word| text.contains(word)).then_some(())
    });
    let text = read(&log);
    let at = |word: &str| text.find(word).expect(word);
    assert!(at("startContainer") < at("process"), "{text}");
    bundle.does(&["kill", "box", "KILL"]);
    bundle.becomes("stopped");
    assert!(!read(&log).contains("poststop"));
    bundle.does(&["delete", "box"]);
    assert!(read(&log).ends_with("poststop\nagain\n"));
}

fn the_state_is_on_standard_input() {
    needs::root();
    let mut bundle = Bundle::new("sleep 60");
    bundle.config["annotations"] = json!({"org.x": "y"});
    let place = bundle.path().to_owned();
    for kind in KINDS {
        let file = match kind {
            "startContainer" => "/startContainer".into(),
            _ => place.join(kind).display().to_string(),
        };
        bundle.config["hooks"][kind] = shell(&format!("cat > {file}"));
    }
    bundle.create();
    let pid = bundle.pid();
    bundle.does(&["start", "box"]);
    bundle.does(&["kill", "box", "KILL"]);
    bundle.becomes("stopped");
    bundle.does(&["delete", "box"]);
    let state = |kind: &str| -> Value {
        let file = match kind {
            "startContainer" => bundle.root().join(kind),
            _ => place.join(kind),
        };
        serde_json::from_str(&read(&file)).expect(kind)
    };
    for (kind, status, number) in [
        ("prestart", "creating", Some(pid)),
        ("createRuntime", "creating", Some(pid)),
        ("createContainer", "creating", Some(1)),
        ("startContainer", "created", Some(1)),
        ("poststart", "running", Some(pid)),
        ("poststop", "stopped", None),
    ] {
        let state = state(kind);
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["pid"].as_i64(), number, "{kind}");
        assert_eq!(state["id"], "box");
        assert_eq!(state["annotations"]["org.x"], "y");
        let bundle = state["bundle"].as_str().expect("text");
        assert_eq!(Path::new(bundle), place.canonicalize().expect("it"));
    }
}

fn a_hook_of_create_that_fails_is_the_end_of_it() {
    needs::root();
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new("true");
        bundle.config["hooks"][kind] = shell("echo the reason >&2; exit 3");
        let last = bundle.path().join("last");
        bundle.config["hooks"]["poststop"] =
            shell(&format!("echo done > {}", last.display()));
        let why = bundle.is_refused();
        assert!(why.contains(kind) && why.contains("the reason"), "{why}");
        assert_eq!(read(&last), "done\n");
    }
    let mut bundle = Bundle::new("true");
    bundle.config["hooks"]["prestart"] = json!([{"path": "/no/such"}]);
    assert!(bundle.is_refused().contains("/no/such"));
}

fn a_hook_of_the_start_that_fails_is_the_end_of_it() {
    needs::root();
    let mut bundle = Bundle::new("echo ran > /ran");
    bundle.config["hooks"]["startContainer"] = shell("exit 3");
    bundle.create();
    let why = bundle.fails(&["start", "box"]);
    assert!(why.contains("startContainer"), "{why}");
    assert_eq!(bundle.status(), "stopped");
    assert!(!bundle.root().join("ran").exists());
    bundle.does(&["delete", "box"]);
}

/// Two hooks, of which the first one fails, and the second one writes a file.
fn fails_first(bundle: &mut Bundle, kind: &str) -> PathBuf {
    let second = bundle.path().join("second");
    let mut hooks = shell("exit 3");
    let more = shell(&format!("echo {kind} >> {}", second.display()));
    hooks.as_array_mut().expect("a list").push(more[0].clone());
    bundle.config["hooks"][kind] = hooks;
    second
}

/// Earlier versions of the specification wanted it to be told, and no more.
fn a_hook_behind_the_start_that_fails_ends_what_runs() {
    needs::root();
    let mut bundle = Bundle::new("sleep 60");
    let second = fails_first(&mut bundle, "poststart");
    bundle.create();
    let why = bundle.fails(&["start", "box"]);
    assert!(why.contains("poststart"), "{why}");
    assert_eq!(bundle.status(), "stopped");
    assert!(!second.exists());
    bundle.does(&["delete", "box"]);
}

fn a_hook_behind_the_end_that_fails_stops_nothing() {
    needs::root();
    let mut bundle = Bundle::new("true");
    let second = fails_first(&mut bundle, "poststop");
    bundle.create();
    bundle.does(&["start", "box"]);
    bundle.does(&["delete", "--force", "box"]);
    assert_eq!(read(&second), "poststop\n");
}

fn a_hook_that_takes_too_long_is_killed() {
    needs::root();
    let mut bundle = Bundle::new("true");
    bundle.config["hooks"]["createRuntime"] = json!([{
        "path": "/bin/sh", "args": ["sh", "-c", "exec sleep 50"],
        "timeout": 1,
    }]);
    let begin = std::time::Instant::now();
    let why = bundle.is_refused();
    assert!(why.contains("killed after 1 second"), "{why}");
    assert!(begin.elapsed().as_secs() < 40);
}

/// It has no limit of time, and yet the container can be removed.
fn a_hook_ends_with_what_it_is_run_for() {
    needs::root();
    let mut bundle = Bundle::new("true");
    bundle.config["hooks"]["createRuntime"] = shell("exec sleep 50");
    let begin = std::time::Instant::now();
    std::thread::scope(|threads| {
        let create = threads.spawn(|| bundle.is_refused());
        harness::wait_until("a hook", || {
            let state = bundle.tool(&["state", "box"]).stdout;
            crate::bundle::text(&state)
                .contains("\"pid\"")
                .then_some(())
        });
        bundle.does(&["delete", "--force", "box"]);
        create.join().expect("it has failed")
    });
    assert!(begin.elapsed().as_secs() < 40);
}

fn hooks_of_the_container_run_in_its_namespaces() {
    needs::root();
    let mut bundle = Bundle::new("sleep 60");
    bundle.config["hostname"] = json!("inside");
    let place = bundle.path().to_owned();
    for kind in ["createRuntime", "createContainer"] {
        let file = place.join(kind);
        let script = format!("hostname > {}", file.display());
        bundle.config["hooks"][kind] = shell(&script);
    }
    bundle.create();
    assert_eq!(read(&place.join("createContainer")), "inside\n");
    assert_ne!(read(&place.join("createRuntime")), "inside\n");
}

fn what_a_hook_prints_is_not_the_containers() {
    needs::root();
    let mut bundle = Bundle::new("echo container");
    for kind in KINDS {
        bundle.config["hooks"][kind] = shell("echo hook; echo hook >&2");
    }
    assert_eq!(bundle.says(), "container");
}

fn a_hook_in_the_container_has_the_environment_of_the_process() {
    needs::root();
    let mut bundle = Bundle::new("cat /said");
    bundle.push("/process/env", json!("WORD=process"));
    let mut own = shell("echo \"$WORD\" >> /said");
    bundle.config["hooks"]["startContainer"] = own.clone();
    own[0]["env"] = json!(["WORD=own"]);
    bundle.push("/hooks/startContainer", own[0].clone());
    assert_eq!(bundle.says(), "process\nown");
}
