//! What a container is called, and who may know of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Stdio,
    time::{Duration, SystemTime},
};

use harness::{Test, claims};

use crate::world::World;

pub(crate) const TESTS: &[Test] = claims![
    of_twenty_who_want_a_name_one_gets_it,
    a_container_is_found_by_its_name_and_by_the_beginning_of_its_id,
    a_name_that_is_none_is_refused,
    what_a_terminal_would_obey_is_shown_and_not_obeyed,
    what_is_known_is_closed_to_others,
    a_name_is_free_again_if_nothing_came_of_it,
    a_container_in_the_background_keeps_nothing_open,
    twenty_who_start_and_stop_one_container_do_it_no_harm,
];

fn of_twenty_who_want_a_name_one_gets_it() {
    let world = World::new();
    let start = || {
        let mut command =
            world.command(["run", "-d", "--name", "one", "-", "sleep", "100"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("box runs")
    };
    let all: Vec<_> = (0..20).map(|_| start()).collect();
    let ends = all
        .into_iter()
        .map(|it| it.wait_with_output().expect("ended"));
    let (won, lost): (Vec<_>, Vec<_>) =
        ends.partition(|output| output.status.success());
    assert_eq!((won.len(), lost.len()), (1, 19));
    for output in lost {
        assert_eq!(output.status.code(), Some(125));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("is in use by another container"), "{text}");
    }
    assert_eq!(world.says(["ps", "-q"]).lines().count(), 1);
}

fn a_container_is_found_by_its_name_and_by_the_beginning_of_its_id() {
    let world = World::new();
    let id = world.says(["run", "-d", "--name", "web", "-", "sleep", "100"]);
    assert_eq!(id.len(), 64);
    for name in ["web", &id, &id[..12], &id[..4]] {
        assert_eq!(world.inspect(name)["Id"], id);
    }
    let all = ["stop", "kill", "wait", "start", "rm", "inspect", "logs"];
    for command in all {
        let (code, text) = world.fails([command, "nobody"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("No such container"), "{text}");
    }
    // As it was: the one that is there is not harmed by one that is not.
    assert_eq!(world.state("web").as_deref(), Some("running"));
}

/// A name becomes a directory, and is shown on terminals.
fn a_name_that_is_none_is_refused() {
    let world = World::new();
    for name in ["", "..", "a/b", "-x", "\x1b[2J", "../../etc"] {
        let name = format!("--name={name}");
        let (code, text) = world.fails(["run", "-d", &name, "-", "true"]);
        assert_eq!(code, 125, "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
    assert_eq!(world.says(["ps", "-aq"]), "");
    let containers = world.store.path().join("containers");
    assert_eq!(fs::read_dir(containers).expect("it").count(), 0);
}

fn what_a_terminal_would_obey_is_shown_and_not_obeyed() {
    let world = World::new();
    world.says([
        "run",
        "-d",
        "--name",
        "evil",
        "-",
        "true",
        "\x1b[2J\n\u{9b}x",
    ]);
    for arguments in [&["ps", "-a"][..], &["inspect", "evil"]] {
        let text = world.says(arguments);
        assert!(!text.contains(['\x1b', '\u{9b}']), "{text:?}");
    }
    assert_eq!(world.says(["ps", "-a"]).lines().count(), 2);
}

fn what_is_known_is_closed_to_others() {
    let world = World::new();
    world.start("web", "sleep 100");
    let dir = |path: &str| world.store.path().join(path);
    let id = world.inspect("web")["Id"].as_str().expect("it").to_owned();
    let mode = |path: &str| {
        let status = fs::metadata(dir(path)).expect(path);
        status.permissions().mode() & 0o7777
    };
    for path in ["containers", "containers/web", "run", &format!("run/{id}")] {
        assert_eq!(mode(path), 0o700, "{path}");
    }
    for path in ["config.json", "last.json", "log", "lock"] {
        let path = format!("containers/web/{path}");
        assert_eq!(mode(&path), 0o600, "{path}");
    }
}

/// Who takes a name and is killed then does not keep it for ever; who has just
/// taken it is left alone.
fn a_name_is_free_again_if_nothing_came_of_it() {
    let world = World::new();
    world.says(["ps"]);
    let containers = world.store.path().join("containers");
    let (old, new) = (containers.join("old"), containers.join("new"));
    for path in [&old, &new] {
        fs::create_dir(path).expect("made");
    }
    let before = SystemTime::now() - Duration::from_secs(60);
    let dir = fs::File::open(&old).expect("it is there");
    dir.set_modified(before).expect("it is ours");
    world.says(["run", "-d", "--name", "old", "-", "true"]);
    assert!(new.exists());
    let (_, text) = world.fails(["run", "-d", "--name", "new", "-", "true"]);
    assert!(text.contains("in use"), "{text}");
    fs::remove_dir(new).expect("it is empty");
}

/// Whoever waits for the end of a pipe that `box run` was given is not kept
/// waiting by the container.
fn a_container_in_the_background_keeps_nothing_open() {
    let world = World::new();
    let script =
        r#"exec 9>&1; "$0" --store "$1" run -d --name web - sleep 100"#;
    // Until standard output is closed, by all who have it.
    let output = world.bash(script);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.state("web").as_deref(), Some("running"));
}

fn twenty_who_start_and_stop_one_container_do_it_no_harm() {
    let world = World::new();
    world.start("web", "exec sleep 100");
    let spawn = |number: usize| {
        let arguments: &[&str] = match number % 4 {
            0 => &["start", "web"],
            1 => &["stop", "-t", "0", "web"],
            2 => &["restart", "-t", "0", "web"],
            _ => &["ps", "-a"],
        };
        let mut command = world.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("box runs")
    };
    let all: Vec<_> = (0..20).map(spawn).collect();
    for child in all {
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // It may be refused, in a line; it does not break.
        assert!(text.lines().count() <= 2, "{text}");
        assert!(matches!(output.status.code(), Some(0 | 1)), "{text}");
    }
    world.says(["stop", "-t", "0", "web"]);
    world.assert_no_trace();
    world.says(["start", "web"]);
    assert_eq!(world.state("web").as_deref(), Some("running"));
}
