//! What is asked for every day, in Docker's words.

use std::{
    fs, os::unix::fs::MetadataExt, process::Stdio, thread::sleep,
    time::Duration,
};

use harness::{Test, claims, needs};
use nix::unistd::geteuid;

use crate::world::{World, wait_until};

pub(crate) const TESTS: &[Test] = claims![
    a_template_says_what_is_shown,
    containers_are_found_by_what_they_are,
    a_log_is_shown_from_a_moment_to_another,
    who_starts_it_can_look_at_it,
    a_signal_may_ask_for_the_end,
    a_copy_follows_a_link_and_keeps_owners,
    what_it_has_written_has_a_size,
    use_is_shown_until_it_ends,
    without_a_terminal_one_can_look_at_what_is_printed,
];

/// Three of them: one runs, and two have ended.
fn three() -> World {
    let world = World::new();
    let run = ["run", "-d", "--name"];
    let red = ["red", "-l", "colour=red", "-l", "warm", "-", "true"];
    let blue = ["blue", "--label", "colour=blue", "-", "sh", "-c", "exit 3"];
    let web = ["web", "-e", "A=1", "-", "sleep", "1000"];
    world.says([&run[..], &red].concat());
    world.says([&run[..], &blue].concat());
    world.says([&run[..], &web].concat());
    world.says(["wait", "red", "blue"]);
    world
}

fn a_template_says_what_is_shown() {
    let world = three();
    let inspect = |format: &str| world.says(["inspect", "-f", format, "web"]);
    let pid = world.number("web", "Pid").to_string();
    assert_eq!(inspect("{{.State.Pid}}"), pid);
    assert_eq!(inspect("{{.State.Status}} {{.Name}}"), "running /web");
    assert_eq!(inspect("{{json .Config.Cmd}}"), r#"["sleep","1000"]"#);
    assert_eq!(inspect("{{index .Config.Env 0}}"), "A=1");
    let red = world.says(["inspect", "-f", "{{.Config.Labels}}", "red"]);
    assert_eq!(red, "map[colour:red warm:]");
    assert!(inspect("json").starts_with(r#"[{"Args""#));
    let of_all = ["inspect", "-f", "{{.Name}}", "web", "other", "red"];
    let output = world.run(of_all);
    assert_eq!(output.stdout, b"/web\n/red\n");
    assert_eq!(output.status.code(), Some(1));

    let ps = |format: &str| world.says(["ps", "-a", "--format", format]);
    assert_eq!(ps("{{.Names}}"), "web\nblue\nred");
    assert_eq!(
        ps(r"table {{.Names}}\t{{.State}}"),
        "NAMES   STATE\nweb     running\nblue    exited\nred     exited"
    );
    for (format, said) in [
        (
            "{{range .Args}}{{.}}{{end}}",
            r#""range" is not understood"#,
        ),
        ("{{.State.Pod}}", r#"no field "Pod""#),
    ] {
        let (_, text) = world.fails(["inspect", "-f", format, "web"]);
        assert!(text.contains(said), "{text}");
    }
}

fn containers_are_found_by_what_they_are() {
    let world = three();
    let ps = |options: &[&str]| {
        let format = ["--format", "{{.Names}}"];
        let names = world.says([&["ps"], &format[..], options].concat());
        names.replace('\n', " ")
    };
    for (options, names) in [
        (&[][..], "web"),
        (&["-a"], "web blue red"),
        (&["-l"], "web"),
        (&["-n", "2"], "web blue"),
        (&["-f", "name=e"], "web"),
        (&["-af", "name=e"], "web blue red"),
        (&["-af", "name=^red$"], "red"),
        (&["-f", "status=exited"], "blue red"),
        (
            &["-f", "status=exited", "-f", "status=running"],
            "web blue red",
        ),
        (&["-af", "exited=3"], "blue"),
        (&["-af", "label=colour"], "blue red"),
        (&["-af", "label=colour=red", "-f", "label=warm"], "red"),
        (&["-af", "label=colour=blue", "-f", "label=warm"], ""),
        (&["-af", "ancestor=-", "-f", "name=web"], "web"),
    ] {
        assert_eq!(ps(options), names, "{options:?}");
    }
    let whole = world.says(["ps", "-q", "--no-trunc"]);
    assert_eq!(whole, world.inspect("web")["Id"]);
    for bad in ["colour=red", "status=up", "name"] {
        let (code, text) = world.fails(["ps", "-f", bad]);
        assert!(code == 125 && text.contains(bad), "{text}");
    }
}

fn a_log_is_shown_from_a_moment_to_another() {
    let world = World::new();
    world.start("web", "echo one; sleep 1; echo two; sleep 1; echo three");
    world.says(["wait", "web"]);
    let moments = world.says(["logs", "-t", "web"]);
    let moments: Vec<&str> =
        moments.lines().map(|it| &it[..it.len().min(30)]).collect();
    let logs = |options: &[&str]| {
        world
            .says([&["logs", "web"], options].concat())
            .replace('\n', " ")
    };
    assert_eq!(logs(&["--since", moments[1]]), "two three");
    assert_eq!(logs(&["--until", moments[1]]), "one two");
    let both = ["--since", moments[1], "--until", moments[1]];
    assert_eq!(logs(&both), "two");
    assert_eq!(logs(&["--since", "1h", "-n", "1"]), "three");
    assert_eq!(logs(&["--until", "1h"]), "");
    assert_eq!(logs(&["--tail", "all", "--since", "0"]), "one two three");
    assert_eq!(logs(&["-n", "0"]), "");
    let (code, text) = world.fails(["logs", "--since", "tea time", "web"]);
    assert!(code == 125 && text.contains("no moment"), "{text}");
}

fn who_starts_it_can_look_at_it() {
    let world = World::new();
    world.start("web", "echo out; echo err >&2; exit 7");
    world.says(["wait", "web"]);
    // Only what is printed this time.
    let output = world.run(["start", "-a", "web"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"out\n");
    // Before it there may be a warning, that nothing limits it.
    assert!(output.stderr.ends_with(b"err\n"), "{output:?}");
    let (code, text) = world.fails(["start", "-a", "web", "web"]);
    assert!(code == 1 && text.contains("multiple"), "{text}");
}

fn a_signal_may_ask_for_the_end() {
    let world = World::new();
    let ready = "echo ready; while true; do sleep 0.05; done";
    world.start("web", &format!("trap 'exit 5' USR1; {ready}"));
    world.wait_for("web", "ready");
    world.says(["stop", "-s", "USR1", "--timeout", "60", "web"]);
    assert_eq!(world.says(["wait", "web"]), "5");
    world.start("none", &format!("trap '' TERM; {ready}"));
    world.wait_for("none", "ready");
    // For ever: until somebody else has ended it.
    let mut stop = world.command(["stop", "-t", "-1", "none"]);
    let mut stop = stop.spawn().expect("box runs");
    sleep(Duration::from_millis(300));
    assert!(stop.try_wait().expect("ours").is_none());
    world.says(["kill", "none"]);
    assert!(stop.wait().expect("it ends").success());
}

fn a_copy_follows_a_link_and_keeps_owners() {
    let world = World::new();
    world.start(
        "web",
        "echo text > /file; ln -s file /link; chown 7:8 /file 2> /dev/null; \
         echo ready; exec sleep 100",
    );
    world.wait_for("web", "ready");
    let host = tempfile::tempdir().expect("a directory");
    let path = |name: &str| host.path().join(name);
    let to = |name: &str| path(name).to_str().expect("text").to_owned();
    world.says(["cp", "web:/link", &to("link")]);
    assert!(path("link").is_symlink());
    world.says(["cp", "-qL", "web:/link", &to("file")]);
    assert_eq!(fs::read_to_string(path("file")).expect("it"), "text\n");
    // For a plain user these numbers are others outside.
    needs::root();
    let owner = |name: &str| {
        let status = fs::metadata(path(name)).expect("it is there");
        (status.uid(), status.gid())
    };
    assert_eq!(owner("file"), (0, 0));
    world.says(["cp", "-a", "web:/file", &to("owned")]);
    assert_eq!(owner("owned"), (7, 8));
    world.says(["cp", "-a", &to("owned"), "web:/back"]);
    let back = ["exec", "web", "stat", "-c", "%u:%g", "/back"];
    assert_eq!(world.says(back), "7:8");
    world.says(["stop", "-t", "0", "web"]);
    world.says(["cp", "-aL", "web:/link", &to("ended")]);
    assert_eq!(owner("ended"), (7, 8));
}

fn what_it_has_written_has_a_size() {
    let world = World::new();
    // A file with two names is one file, and a link is none.
    world.start(
        "web",
        "head -c 1500 /dev/zero > /a; ln /a /b; ln -s /etc /c; mkdir /d; \
         head -c 1000 /dev/zero > /d/file; echo ready; exec sleep 100",
    );
    world.start("idle", "exec sleep 100");
    world.wait_for("web", "ready");
    let ps = |more: &[&str]| world.says([&["ps"], more].concat());
    let sizes = ps(&["-s", "--format", "{{.Names}} {{.Size}}"]);
    let [idle, web] = sizes.lines().collect::<Vec<_>>()[..] else {
        panic!("{sizes}");
    };
    assert!(web.starts_with("web 2.5kB (virtual "), "{sizes}");
    assert!(idle.starts_with("idle 0B (virtual "), "{sizes}");
    assert!(ps(&["-s"]).contains("SIZE"));
    assert!(!ps(&[]).contains("SIZE"));
}

fn use_is_shown_until_it_ends() {
    let world = World::new();
    world.start("web", "while true; do :; done");
    let once = world.says(["stats", "--no-stream", "--format", "{{.Name}}"]);
    assert_eq!(once, "web");
    let stats = ["stats", "--format", "{{.Name}} {{.CPUPerc}}", "web"];
    // Into a file, which never keeps its reader waiting.
    let said = tempfile::NamedTempFile::new().expect("a file");
    let mut stats = world.command(stats);
    let stats = stats.stdout(said.reopen().expect("it is there"));
    let mut stats = stats.spawn().expect("box runs");
    let shares = || {
        let text = fs::read_to_string(said.path()).expect("text");
        let rows = text.split_inclusive('\n').filter(|it| it.ends_with('\n'));
        rows.map(share).collect::<Vec<_>>()
    };
    // Where the machine is busy, it may be a while until its turn comes.
    wait_until("a second row, and one with a share", || {
        let shares = shares();
        // Where it has no cgroup, nobody counts.
        let is_enough = |it: &Option<f64>| match it {
            Some(share) => *share > 0.0,
            None => !geteuid().is_root(),
        };
        shares.len() >= 2 && shares.iter().any(is_enough)
    });
    world.says(["kill", "web"]);
    let status = harness::wait_until("its end, by itself", || {
        stats.try_wait().expect("it is ours")
    });
    assert!(status.success());
    shares();
}

/// What a row says of the one processor that "web" can use, in percent; `None` if
/// nobody has counted, as at its end.
fn share(row: &str) -> Option<f64> {
    let used = row.trim_end().strip_prefix("web ").expect("it is this one");
    if used == "--" {
        return None;
    }
    let used = used.strip_suffix('%').expect("a share");
    let used = used.parse().expect("a number");
    // The kernel counts when its clock ticks: of half a second that is 2 %, or a
    // bit more if it ticks late.
    assert!((0.0..=105.0).contains(&used), "{row}");
    Some(used)
}

fn without_a_terminal_one_can_look_at_what_is_printed() {
    let world = World::new();
    world.start(
        "web",
        "echo before; until [ -e /go ]; do sleep 0.05; done; echo out; \
         echo err >&2; exit 7",
    );
    world.wait_for("web", "before");
    let mut attach = world.command(["attach", "web"]);
    attach.stdout(Stdio::piped()).stderr(Stdio::piped());
    let attach = attach.spawn().expect("box runs");
    // That is opened when it stands at the end of the log.
    wait_until("somebody to look", || has_open(attach.id(), "code"));
    // It may end together with the container.
    world.run(["exec", "web", "touch", "/go"]);
    let output = attach.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
    // Also if nothing is left of it when it has ended.
    let run = ["run", "-d", "--rm", "--name", "gone", "-", "sh", "-c"];
    let script = "until [ -e /go ]; do sleep 0.05; done; echo out; exit 7";
    world.says([&run[..], &[script]].concat());
    let mut attach = world.command(["attach", "gone"]);
    let attach = attach.stdout(Stdio::piped()).spawn().expect("box runs");
    wait_until("somebody to look", || has_open(attach.id(), "code"));
    world.run(["exec", "gone", "touch", "/go"]);
    let output = attach.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"out\n");
}

/// Whether a process has opened a file of this name.
fn has_open(pid: u32, name: &str) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = entries.into_iter().flatten().flatten();
    links
        .filter_map(|it| fs::read_link(it.path()).ok())
        .any(|it| it.file_name().is_some_and(|it| it == name))
}
