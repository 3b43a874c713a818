//! `run --explain`: the calls as they are made.

use harness::{
    ALL, FULL, MOUNT, OVERLAY, PID, Run, Step, Test, UTS, claims,
    programs::workspace,
};

pub(crate) const TESTS: &[Test] = claims![
    each_step_shows_the_calls_that_it_adds,
    above_the_calls_stands_what_they_are_for,
    who_makes_a_call_is_told_whenever_it_changes,
    nothing_is_shown_unless_it_is_asked_for,
    programs_get_an_object_a_line,
];

/// Where the sources are, which may have been moved since the step was built.
fn at_the_sources(run: Run) -> Run {
    let run = run.env("WORKSPACE", workspace());
    run.through(r#"cd "$WORKSPACE" && exec "$0" "$@""#)
}

/// What is shown of a run of `true`, without the files.
fn shown(step: Step) -> Vec<String> {
    let run = step.run().options(["--explain"]).command(["true"]);
    run.ok();
    let lines = run.stderr.lines().filter_map(|it| it.strip_prefix("  "));
    lines.map(str::to_owned).collect()
}

/// In this order, each at the beginning of a line: who makes it, and the call.
fn assert_order(step: Step, expected: &[&str]) {
    let shown = shown(step);
    let mut rest = shown.iter();
    for call in expected {
        let found = rest.any(|line| line.starts_with(call));
        assert!(found, "{}: {call:?} is not in {shown:#?}", step.name);
    }
}

fn each_step_shows_the_calls_that_it_adds() {
    let name = r#"box   sethostname("box", 3)"#;
    assert_order(UTS, &["host  clone3({flags=CLONE_NEWUTS", name]);
    let execve = r#"box   execve("#;
    let vfork = "box   clone(CLONE_VM|CLONE_VFORK|SIGCHLD)";
    let pid = ["box   setsid()", name, vfork, execve];
    assert_order(PID, &pid);
    assert_order(PID, &["host  clone3({flags=", "host  wait4("]);
    let pivot = [
        r#"box   mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)"#,
        r#"box   mount("proc", ".", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC"#,
        r#"box   pivot_root(".", ".")"#,
        r#"box   umount2(".", MNT_DETACH)"#,
        execve,
    ];
    assert_order(MOUNT, &pivot);
    assert_order(OVERLAY, &[r#"box   mount("overlay", "#, pivot[2]]);
    assert_order(
        FULL,
        &[
            "box   setresuid(0, 0, 0)",
            pivot[2],
            "box   capset(",
            "box   memfd_create(\"stub\"",
            "box   seccomp(SECCOMP_SET_MODE_FILTER",
            vfork,
            "box   execveat(",
            execve,
        ],
    );
}

/// The words are those of the source, which this test reads, too.
fn above_the_calls_stands_what_they_are_for() {
    let run = at_the_sources(UTS.run()).options(["--explain"]);
    let run = run.command(["true"]);
    let lines: Vec<&str> = run.stderr.lines().collect();
    let call = lines.iter().position(|it| it.contains("sethostname("));
    let above = lines[call.expect("it names the container") - 1];
    let (file, aim) = above.split_once(": ").expect("a file and an aim");
    assert_eq!(file, "step01-uts/src/lib.rs");
    let source = include_str!("../../step01-uts/src/lib.rs");
    let comment = source
        .lines()
        .any(|it| it.starts_with("///") && it.replace('`', "").contains(aim));
    assert!(comment, "{aim:?} is not in {file}");
}

/// Two processes write, and neither under what the other has written.
fn who_makes_a_call_is_told_whenever_it_changes() {
    let run = PID.run().options(["--explain"]).command(["true"]);
    let ends = r#"host  wait4("#;
    let lines: Vec<&str> = run.stderr.lines().collect();
    let end = lines
        .iter()
        .position(|it| it.trim_start().starts_with(ends));
    let end = end.unwrap_or_else(|| panic!("no end: {run:?}"));
    assert!(lines[end].contains("WEXITSTATUS(s) == 0"), "{}", lines[end]);
    assert!(lines[end - 1].starts_with("common/src/process/"), "{run:?}");
}

fn nothing_is_shown_unless_it_is_asked_for() {
    for step in ALL {
        let run = step.run().command(["true"]);
        assert!(!run.stderr.contains("clone3"), "{}: {run:?}", step.name);
        // And what the command prints stays what it is.
        let run = step.run().options(["--explain"]).sh("echo hello");
        assert_eq!(run.ok(), "hello", "{}", step.name);
    }
}

fn programs_get_an_object_a_line() {
    let run = at_the_sources(UTS.run()).options(["--explain=json"]);
    let run = run.command(["true"]);
    let objects = run.stderr.lines().filter(|it| it.starts_with('{'));
    let objects: Vec<serde_json::Value> = objects
        .map(|it| serde_json::from_str(it).expect("an object"))
        .collect();
    let call = r#"sethostname("box", 3)"#;
    let found = objects.iter().find(|it| it["call"] == call);
    let found = found.expect("it names the container");
    assert_eq!(found["in"], "box");
    assert!(found["aim"].as_str().is_some_and(|it| it.contains("name")));
    assert_eq!(found["file"], "step01-uts/src/lib.rs");
    assert!(found["errno"].is_null() && found["line"].is_u64());
}
