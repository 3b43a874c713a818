//! What a container prints, and what becomes of it.

use std::{
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use harness::{Test, claims, needs, skip};

use crate::world::{World, box_program, wait_until};

pub(crate) const TESTS: &[Test] = claims![
    the_two_streams_are_kept_apart_and_in_time,
    whoever_follows_a_log_sees_it_grow_and_end,
    the_log_of_a_container_that_prints_for_ever_has_a_limit,
    a_line_without_an_end_is_no_burden,
    a_container_can_not_change_what_it_has_printed,
    a_full_disk_stops_nobody,
    the_log_says_what_was_lost,
];

const MIB: u64 = 1 << 20;

fn the_two_streams_are_kept_apart_and_in_time() {
    let world = World::new();
    world.start("web", "echo out; echo err >&2; printf 'a\\0b\\377'");
    world.says(["wait", "web"]);
    let output = world.run(["logs", "web"]);
    assert_eq!(output.stdout, b"out\na\0b\xff");
    assert_eq!(output.stderr, b"err\n");
    let text = world.run(["logs", "--timestamps", "web"]);
    let line = String::from_utf8_lossy(&text.stdout).into_owned();
    let moment = line.split(' ').next().expect("a moment");
    assert!(moment.starts_with("20") && moment.ends_with('Z'), "{line}");
    assert_eq!(moment.len(), "2026-11-29T13:15:58.000000000Z".len());
    world.start("more", "echo 1; echo 2; echo 3");
    world.says(["wait", "more"]);
    assert_eq!(world.says(["logs", "--tail", "2", "more"]), "2\n3");
}

fn whoever_follows_a_log_sees_it_grow_and_end() {
    let world = World::new();
    world.start("web", "for i in 1 2 3; do echo $i; sleep 0.2; done; exit 7");
    let follow = world.command(["logs", "-f", "web"]).output().expect("box");
    assert!(follow.status.success(), "{follow:?}");
    assert_eq!(follow.stdout, b"1\n2\n3\n");

    // Nor does it wait for a container whose monitor was killed.
    world.start("web2", "echo 1; exec sleep 100");
    world.wait_for("web2", "1");
    let mut follow = world.command(["logs", "-f", "web2"]);
    let follow = follow.stdout(Stdio::piped()).spawn().expect("box");
    let monitor = world.number("web2", "MonitorPid").to_string();
    let killed = Command::new("kill").args(["-9", &monitor]).status();
    assert!(killed.expect("kill").success());
    let output = follow.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, b"1\n");
}

fn the_log_of_a_container_that_prints_for_ever_has_a_limit() {
    let world = World::new();
    let script = "t='a line of forty bytes, to be repeated...'; \
                  for i in 1 2 3 4 5 6 7 8 9 10 11 12; do t=\"$t\n$t\"; done; \
                  for i in $(seq 300); do echo \"$t\"; done; echo the last one";
    world.start("web", script);
    world.says(["wait", "web"]);
    let dir = world.store.path().join("containers/web");
    let mut sizes = Vec::new();
    for entry in fs::read_dir(&dir).expect("it is there").flatten() {
        let name = entry.file_name().into_string().expect("text");
        if name.starts_with("log") {
            sizes.push(entry.metadata().expect("it is there").len());
        }
    }
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|it| *it <= 10 * MIB), "{sizes:?}");
    let text = world.says(["logs", "web"]);
    assert!(text.len() > 5_000_000, "{}", text.len());
    assert!(text.ends_with("the last one"));
}

/// A line of a gigabyte is no line that anybody has to hold in memory.
fn a_line_without_an_end_is_no_burden() {
    let world = World::new();
    world.start("web", "head -c 1000000000 /dev/zero; echo; echo end");
    world.says(["wait", "web"]);
    let log = fs::metadata(world.store.path().join("containers/web/log"));
    assert!(log.expect("it is there").len() <= 10 * MIB);
    let text = world.says(["logs", "--tail", "1", "web"]);
    assert_eq!(text, "end");
}

/// What the container can open by `/dev/stdout` is the pipe, and not the log.
fn a_container_can_not_change_what_it_has_printed() {
    let world = World::new();
    let script = "echo one; echo two > /dev/stdout; : > /dev/stdout; \
                  echo three > /proc/self/fd/2";
    world.start("web", script);
    world.says(["wait", "web"]);
    assert_eq!(world.says(["logs", "web"]), "one\ntwo");
    assert_eq!(world.run(["logs", "web"]).stderr, b"three\n");
}

/// The output that has no place is lost, and nobody waits for it; the end is
/// still written down.
fn a_full_disk_stops_nobody() {
    // To mount a small disk.
    needs::root();
    let world = World::new();
    let script = r#"
        mount -t tmpfs -o size=2m disk "$1" && chmod 700 "$1" || exit 99
        box() { "$0" --store "$1" "$@"; }
        b="$0"; s="$1"
        "$b" --store "$s" run -d --name web - sh -c \
            'head -c 20000000 /dev/zero; exit 6' || exit 98
        "$b" --store "$s" wait web
        "$b" --store "$s" ps -a | grep -c 'Exited (6)'
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command.arg(box_program()).arg(world.store.path());
    let output = command.output().expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() == Some(98) {
        skip("needs id-mapped mounts of a tmpfs");
    }
    assert!(text.ends_with("6\n1\n"), "{output:?}");
}

fn the_log_says_what_was_lost() {
    let world = World::new();
    // For this program alone: the container has a limit of its own then, too.
    let script = r#"
        ulimit -f 2000
        "$0" --store "$1" run -d --name web - sh -c \
            'head -c 3000000 /dev/zero; echo; echo end'
        "$0" --store "$1" wait web
    "#;
    let output = world.bash(script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.ends_with("\n0\n"), "{output:?}");
    sleep(Duration::from_millis(10));
    wait_until("a log", || {
        world.run(["logs", "web"]).stdout.len() > 1_000_000
    });
}
