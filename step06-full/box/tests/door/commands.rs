//! What a command in a container gets, and what is said of its end.

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use harness::{Test, claims, needs};

use crate::world::{World, wait_until};

pub(crate) const TESTS: &[Test] = claims![
    a_command_is_among_those_of_the_container,
    exit_codes_are_dockers,
    the_environment_is_the_containers_and_what_was_asked_for,
    a_user_and_a_directory_are_those_of_the_container,
    input_is_given_only_if_it_is_wanted,
    in_the_background_nobody_hears_of_it,
    nobody_enters_before_the_container_is_one,
];

/// A world with a container that only waits.
pub(crate) fn with_a_container(options: &[&str]) -> World {
    let world = World::new();
    let arguments = [
        &["run", "-d", "--name", "web"][..],
        options,
        &["-", "sh", "-c", "echo ready; exec sleep 1000"],
    ];
    world.says(arguments.concat());
    world.wait_for("web", "ready");
    world
}

impl World {
    /// What a command prints that is run in the container.
    pub(crate) fn exec(&self, options: &[&str], script: &str) -> String {
        let command = ["web", "sh", "-c", script];
        self.says([&["exec"], options, &command].concat())
    }

    /// `box`, started by a shell that does `first` before.
    pub(crate) fn after(&self, first: &str, arguments: &[&str]) -> Output {
        let command = self.command(arguments);
        let script = format!("{first}; exec \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "sh"]).arg(command.get_program());
        shell.args(command.get_args()).output().expect("sh runs")
    }

    fn with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("box runs");
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(input.as_bytes()).expect("it is open");
        drop(pipe);
        child.wait_with_output().expect("it ends")
    }
}

fn a_command_is_among_those_of_the_container() {
    let world = with_a_container(&[]);
    let (seen, hostname) = ("ps -e", "hostname");
    assert!(world.exec(&[], seen).contains("sleep"));
    assert_eq!(world.exec(&[], hostname), "box");
    world.exec(&[], "echo text > /file");
    assert_eq!(world.exec(&[], "cat /file"), "text");
    // Its parent is outside, and so nobody.
    assert_eq!(world.exec(&[], "echo $PPID"), "0");
    // And signals go from one to the other, who may take the first along.
    world.run(["exec", "web", "kill", "2"]);
    assert_eq!(world.says(["wait", "web"]), "143");
}

fn exit_codes_are_dockers() {
    let world = with_a_container(&[]);
    let code = |command: &[&str]| {
        let run = world.run([&["exec", "web"], command].concat());
        run.status.code().expect("a code")
    };
    assert_eq!(code(&["sh", "-c", "exit 7"]), 7);
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), 128 + 9);
    assert_eq!(code(&["no-such-command"]), 127);
    assert_eq!(code(&["/etc"]), 126);
    world.exec(&[], "echo '#!/no/such' > /script; chmod +x /script");
    assert_eq!(code(&["/script"]), 127);
    let fails = |expected: i32, arguments: &[&str], said: &str| {
        let (code, text) = world.fails(arguments);
        assert_eq!(code, expected, "{text}");
        assert!(text.contains(said), "{text}");
    };
    fails(1, &["exec", "other", "true"], "No such container: other\n");
    fails(1, &["attach", "other"], "No such container: other\n");
    fails(125, &["exec", "web"], "COMMAND");
    fails(126, &["exec", "-u", "no-one", "web", "true"], "no-one");
    fails(127, &["exec", "-w", "/no/such", "web", "true"], "/no/such");
    fails(
        127,
        &["exec", "-w", "/etc/passwd", "web", "true"],
        "ENOTDIR",
    );
    fails(
        126,
        &["exec", "-d", "-u", "no-one", "web", "true"],
        "no-one",
    );
    fails(1, &["exec", "-it", "web", "true"], "not a TTY");
    world.says(["kill", "web"]);
    world.says(["wait", "web"]);
    fails(1, &["exec", "web", "true"], "container web is not running");
    fails(1, &["attach", "web"], "container web is not running");
}

fn the_environment_is_the_containers_and_what_was_asked_for() {
    let world = with_a_container(&["--env", "A=first", "--env", "B=b"]);
    let file = world.store.path().join("settings");
    fs::write(&file, "# a comment\n\nC=from the file\nA=third\nHOST_ONE\n")
        .expect("written");
    let file = file.to_str().expect("text");
    let echo = "echo $A $B $C $HOST_ONE $SECRET $HOSTNAME";
    let options = ["--env-file", file, "--env", "A=second"];
    assert_eq!(world.exec(&options, echo), "second b from the file box");
    // Nothing of the caller's comes along that was not asked for.
    let run = |options: &[&str]| {
        let command = ["web", "sh", "-c", echo];
        let arguments = [&["exec"], options, &command].concat();
        let mut command = world.command(arguments);
        command.env("HOST_ONE", "1").env("SECRET", "2");
        let output = command.output().expect("box runs");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(run(&[]), "first b box\n");
    assert_eq!(run(&["-e", "HOST_ONE"]), "first b 1 box\n");
    let (_, text) = world.fails(["exec", "-e", "=x", "web", "true"]);
    assert!(text.contains("is not KEY=VALUE"), "{text}");
}

fn a_user_and_a_directory_are_those_of_the_container() {
    let world = with_a_container(&["--workdir", "/tmp"]);
    assert_eq!(world.exec(&[], "pwd"), "/tmp");
    assert_eq!(world.exec(&["-w", "/etc"], "pwd"), "/etc");
    world.exec(&[], "echo 'ann:x:0:0::/ann:/bin/sh' >> /etc/passwd");
    assert_eq!(world.exec(&["-u", "ann"], "id -u; echo $HOME"), "0\n/ann");
    let run = world.run(["exec", "-u", "7:8", "web", "id"]);
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    match run.status.success() {
        true => assert!(text.starts_with("uid=7"), "{text}"),
        // A plain user who was granted no more.
        false => {
            let text = String::from_utf8_lossy(&run.stderr).into_owned();
            assert!(text.contains("has no id"), "{text}");
        }
    }
}

fn input_is_given_only_if_it_is_wanted() {
    let world = with_a_container(&[]);
    let cat = world.with_input(&["exec", "-i", "web", "cat"], "typed");
    assert_eq!(cat.stdout, b"typed");
    let cat = world.with_input(&["exec", "web", "cat"], "typed");
    assert_eq!(cat.stdout, b"");
    // Pipes can be opened once more, whosever they were.
    let again = "cat /dev/stdin > /dev/stdout";
    let arguments = ["exec", "-i", "web", "sh", "-c", again];
    assert_eq!(world.with_input(&arguments, "typed").stdout, b"typed");
}

fn in_the_background_nobody_hears_of_it() {
    let world = with_a_container(&[]);
    let script = "echo out; echo err >&2; echo done > /done; exec sleep 900";
    let output = world.run(["exec", "-d", "web", "sh", "-c", script]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    wait_until("it runs", || {
        world.exec(&[], "cat /done 2>&1 || true") == "done"
    });
    // What can't be run is told all the same.
    let (code, text) = world.fails(["exec", "-d", "web", "no-such-command"]);
    assert_eq!(code, 127, "{text}");
    assert!(text.contains("no-such-command"), "{text}");
    // It ends with the container.
    world.says(["rm", "-f", "web"]);
    world.assert_no_trace();
}

/// Until it has entered its root, its namespaces show the host's files. A
/// debugger makes that moment long.
fn nobody_enters_before_the_container_is_one() {
    needs::tool("strace");
    let world = World::new();
    let mark = world.store.path().join("mark");
    fs::write(&mark, "the host's").expect("written");
    let slow = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=pivot_root"];
    let run = world.command(["run", "--name", "web", "-", "sleep", "100"]);
    let mut strace = Command::new("strace");
    strace
        .args(slow)
        .args(["-e", "inject=pivot_root:delay_enter=2000000"]);
    strace.arg(run.get_program()).args(run.get_args());
    let mut run = strace.spawn().expect("strace runs");
    wait_until("it is there", || world.state("web").is_some());
    wait_until("it is up", || world.run(["port", "web"]).status.success());
    let mark = mark.to_str().expect("text");
    let (code, text) = world.fails(["exec", "web", "cat", mark]);
    assert!(code == 1 && text.contains("No such file"), "{text}");
    world.says(["rm", "-f", "web"]);
    run.wait().expect("it has ended");
}
