//! Whoever is killed: nothing is left.

use std::{
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use harness::{Test, claims, host::children, pty::Session, random};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    commands::with_a_container,
    world::{World, exists, wait_until},
};

pub(crate) const TESTS: &[Test] = claims![
    whoever_is_killed_while_a_command_runs_leaves_nothing,
    whoever_is_killed_at_a_terminal_leaves_it_as_it_was,
    a_stopped_caller_does_not_hold_the_container,
    a_stopped_job_does_not_hold_the_container,
    a_deputy_has_let_go_of_the_host,
];

/// The caller, its deputy, the command, as far as they are there.
fn family(caller: i32) -> Vec<i32> {
    let mut all = vec![caller];
    let mut next = 0;
    while next < all.len() {
        let children = children(all[next]).into_iter();
        all.extend(children.map(|(pid, _)| pid));
        next += 1;
    }
    all
}

/// How many processes the container has, seen from inside.
fn count(world: &World) -> usize {
    let text = world.exec(&[], "ls /proc");
    text.lines().filter(|it| it.parse::<u32>().is_ok()).count()
}

/// How many in the container are called `sleep`. A process has this name from
/// its execve(2) on: until then its deputy waits for it where nothing stops it.
fn sleepers(world: &World) -> usize {
    world.exec(&[], "ps -e").matches("sleep").count()
}

fn whoever_is_killed_while_a_command_runs_leaves_nothing() {
    let mut random = random();
    let world = with_a_container(&[]);
    let before = count(&world);
    for round in 0..60 {
        let mut command = world.command(["exec", "web", "sleep", "500"]);
        command.stderr(Stdio::null());
        let mut caller = command.spawn().expect("box runs");
        let pid = caller.id().cast_signed();
        sleep(Duration::from_micros(random.below(30_000)));
        let family = family(pid);
        let victim = family[random.index(family.len())];
        let _ = kill(Pid::from_raw(victim), Signal::SIGKILL);
        caller.wait().expect("it ends");
        let all = || family.iter().any(|it| exists(*it));
        wait_until(&format!("the end of round {round}"), || !all());
        wait_until("it is as before", || count(&world) == before);
        assert_eq!(world.state("web").as_deref(), Some("running"));
    }
    world.says(["rm", "-f", "web"]);
    world.assert_no_trace();
}

/// The same at a terminal, which must not stay as it was set; only if all who
/// could set it back are killed, nobody does.
fn whoever_is_killed_at_a_terminal_leaves_it_as_it_was() {
    let mut random = random();
    let world = with_a_container(&[]);
    let before = count(&world);
    // Of one that nobody sets: on a busy machine ours may be set by the time
    // that we look.
    let modes = Session::of(Command::new("true")).modes();
    for round in 0..40 {
        let command = world.command(["exec", "-it", "web", "sleep", "500"]);
        let session = Session::of(command);
        sleep(Duration::from_micros(random.below(40_000)));
        let family = family(session.leader());
        let victim = family[random.index(family.len())];
        let _ = kill(Pid::from_raw(victim), Signal::SIGKILL);
        wait_until(&format!("the modes of round {round}"), || {
            family.iter().all(|it| !exists(*it)) && session.modes() == modes
        });
        session.end();
        wait_until("it is as before", || count(&world) == before);
    }
    world.says(["rm", "-f", "web"]);
    world.assert_no_trace();
}

/// A caller that is stopped must not keep the container from its end.
fn a_stopped_caller_does_not_hold_the_container() {
    let world = with_a_container(&[]);
    let before = sleepers(&world);
    let mut command = world.command(["exec", "web", "sleep", "500"]);
    let mut caller = command.stderr(Stdio::null()).spawn().expect("box runs");
    let pid = caller.id().cast_signed();
    wait_until("it sleeps", || sleepers(&world) > before);
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("it is ours");
    world.says(["kill", "web"]);
    assert_eq!(world.says(["wait", "web"]), "137");
    kill(Pid::from_raw(pid), Signal::SIGCONT).expect("it is ours");
    assert_eq!(caller.wait().expect("it ends").code(), Some(137));
}

/// And neither must one that was stopped by its terminal.
fn a_stopped_job_does_not_hold_the_container() {
    let world = with_a_container(&[]);
    let before = sleepers(&world);
    let command = world.command(["exec", "web", "sleep", "500"]);
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words.map(|it| it.to_str().expect("text")).collect();
    let mut session = Session::shell();
    session.type_line(&words.join(" "));
    wait_until("it sleeps", || sleepers(&world) > before);
    session.press("\x1a");
    session.expect("Stopped");
    world.says(["kill", "web"]);
    assert_eq!(world.says(["wait", "web"]), "137");
    session.type_line("fg; echo code $?");
    session.expect("code 137");
    session.type_line("exit");
    session.end();
}

/// The deputy, which stays as long as the command, holds nothing of the host's
/// any more.
fn a_deputy_has_let_go_of_the_host() {
    let world = with_a_container(&[]);
    let before = count(&world);
    let mut command = world.command(["exec", "web", "sleep", "500"]);
    let mut caller = command.stderr(Stdio::null()).spawn().expect("box runs");
    wait_until("it sleeps", || count(&world) > before);
    let (deputy, _) = children(caller.id().cast_signed())[0];
    let open = fs::read_dir(format!("/proc/{deputy}/fd"));
    // To us it is not dumpable either, unless we are root.
    if let Ok(entries) = open {
        for entry in entries.flatten() {
            let number = entry.file_name().into_string().expect("a number");
            let path = fs::read_link(entry.path()).expect("it is open");
            let text = path.to_string_lossy().into_owned();
            let is_stream = ["0", "1", "2"].contains(&number.as_str());
            assert!(
                is_stream || !text.starts_with('/') || text.contains("memfd"),
                "{number} is {text}"
            );
        }
    }
    let root = fs::read_link(format!("/proc/{deputy}/cwd"));
    assert!(root.is_err() || root.is_ok_and(|it| it.as_os_str() == "/"));
    caller.kill().expect("it is ours");
    caller.wait().expect("it ends");
}
