//! Terminals of a container's own.

use harness::{Test, claims, pty::Session, skip};
use nix::{
    sys::signal::{Signal, kill},
    sys::termios::LocalFlags,
    unistd::Pid,
};

use crate::{
    commands::with_a_container,
    world::{World, wait_until},
};

pub(crate) const TESTS: &[Test] = claims![
    a_terminal_has_a_name_inside,
    it_belongs_to_who_uses_it,
    without_it_there_is_none,
    the_terminal_of_the_caller_is_set_back,
    keys_reach_the_command_inside,
    a_closed_window_hangs_up_inside,
    who_lets_go_can_come_back,
    who_looks_learns_the_exit_code,
    who_does_not_look_stops_nobody,
    a_window_that_changes_is_told_inside,
];

impl World {
    /// At a terminal, `box` with these arguments.
    fn at_a_terminal(&self, arguments: &[&str]) -> Session {
        Session::of(self.command(arguments))
    }
}

/// Each key is handed on as it is pressed, and not shown here.
fn is_raw(session: &Session) -> bool {
    let modes = session.modes().local_flags;
    !modes.intersects(LocalFlags::ECHO | LocalFlags::ICANON)
}

const RUN: [&str; 4] = ["run", "-it", "-", "sh"];

fn a_terminal_has_a_name_inside() {
    let world = World::new();
    let mut session = world.at_a_terminal(&RUN);
    session.expect("# ");
    session.type_line("tty; stty size");
    session.expect("/dev/pts/0\r\n24 80\r\n");
    session.type_line("echo x > /dev/tty && echo reached");
    session.expect("reached");
    session.type_line("exit 3");
    assert_eq!(session.end(), Some(3));
    world.assert_no_trace();
}

fn it_belongs_to_who_uses_it() {
    let world = with_a_container(&[]);
    let owner = "stat -c %u $(tty); echo x > $(tty)";
    let arguments = ["exec", "-t", "-u", "7", "web", "sh", "-c", owner];
    let output = world.run(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() && text.contains("has no id") {
        skip("needs more ids than a plain user's own");
    }
    assert_eq!(text, "7\r\nx\r\n");
    let run = ["run", "-t", "-u", "7", "-", "sh", "-c", owner];
    assert_eq!(world.says(run), "7\r\nx");
}

fn without_it_there_is_none() {
    let world = with_a_container(&[]);
    assert_eq!(world.exec(&[], "tty || true"), "not a tty");
    // And what the caller has is out of reach.
    let arguments = ["exec", "web", "sh", "-c", "echo x > /dev/tty"];
    assert!(!world.run(arguments).status.success());
}

fn the_terminal_of_the_caller_is_set_back() {
    let world = World::new();
    for last in ["exit", "kill -9 $$", "no-such-command; exit 4"] {
        let mut session = world.at_a_terminal(&RUN);
        let before = session.modes();
        session.expect("# ");
        assert!(is_raw(&session));
        session.type_line(last);
        wait_until("it is set back", || session.modes() == before);
    }
    // And by whoever is left, if the caller is killed.
    let mut session = world.at_a_terminal(&RUN);
    let before = session.modes();
    session.expect("# ");
    kill(Pid::from_raw(session.leader()), Signal::SIGKILL).expect("ours");
    wait_until("it is set back", || session.modes() == before);
    world.assert_no_trace();
}

fn keys_reach_the_command_inside() {
    let world = with_a_container(&[]);
    let mut session = world.at_a_terminal(&["exec", "-it", "web", "sh"]);
    session.expect("# ");
    session.type_line("sleep 1000");
    session.expect("sleep 1000\r\n");
    // What comes before it sleeps is for the shell.
    let sleeps = || world.exec(&[], "ps -e").matches("sleep").count();
    wait_until("it sleeps", || sleeps() == 2);
    session.press("\x03");
    session.expect("# ");
    session.type_line("cat > /file");
    session.type_line("a line");
    session.press("\x04");
    session.expect("# ");
    assert_eq!(world.exec(&[], "cat /file"), "a line");
    session.type_line("exit 5");
    assert_eq!(session.end(), Some(5));
}

fn a_closed_window_hangs_up_inside() {
    let world = with_a_container(&[]);
    let mut session = world.at_a_terminal(&["exec", "-it", "web", "sh"]);
    session.expect("# ");
    session.type_line("sleep 1000");
    let sleeps = || world.exec(&[], "ps -e").matches("sleep").count();
    wait_until("it sleeps", || sleeps() == 2);
    session.hang_up();
    wait_until("it is gone", || sleeps() == 1);
}

fn who_lets_go_can_come_back() {
    let world = World::new();
    let start = ["run", "-it", "--name", "web", "-", "sh"];
    let mut session = world.at_a_terminal(&start);
    session.expect("# ");
    session.type_line("here=1");
    session.press("\x10\x11");
    assert_eq!(session.end(), Some(0));
    assert_eq!(world.state("web").as_deref(), Some("running"));

    let keys = ["attach", "--detach-keys", "ctrl-a,x", "web"];
    let mut one = world.at_a_terminal(&["attach", "web"]);
    let mut two = world.at_a_terminal(&keys);
    for session in [&one, &two] {
        wait_until("it is raw", || is_raw(session));
    }
    // Both see the same.
    one.type_line("echo $here is still here");
    one.expect("1 is still here");
    two.expect("1 is still here");
    two.press("\x01x");
    assert_eq!(two.end(), Some(0));
    one.type_line("exit 6");
    assert_eq!(one.end(), Some(6));
    world.says(["rm", "web"]);
    world.assert_no_trace();
}

fn who_looks_learns_the_exit_code() {
    let world = World::new();
    let command = ["-", "sh", "-c", "echo ready; read line; exit 7"];
    let run = ["run", "-dt", "--rm", "--name", "web"];
    world.says([&run[..], &command].concat());
    world.wait_for("web", "ready");
    let mut session = world.at_a_terminal(&["attach", "web"]);
    wait_until("it is raw", || is_raw(&session));
    session.type_line("go");
    assert_eq!(session.end(), Some(7));
    wait_until("it is gone", || world.state("web").is_none());
    world.assert_no_trace();
}

fn who_does_not_look_stops_nobody() {
    let world = World::new();
    let long = "echo ready; read line; i=0; while [ $i -lt 30000 ]; do \
                echo a line that fills the screen: $i; i=$((i + 1)); done; \
                echo over > /over; read line";
    world.says(["run", "-dt", "--name", "web", "-", "sh", "-c", long]);
    world.wait_for("web", "ready");
    // It reads nothing: the test does not.
    let lazy = world.at_a_terminal(&["attach", "web"]);
    let mut eager = world.at_a_terminal(&["attach", "web"]);
    for session in [&lazy, &eager] {
        wait_until("it is raw", || is_raw(session));
    }
    eager.type_line("go");
    eager.expect("screen: 29999");
    wait_until("it is over", || {
        world.exec(&[], "cat /over 2>&1 || true").contains("over")
    });
    world.wait_for("web", "screen: 29999");
    world.says(["rm", "-f", "web"]);
    drop((lazy, eager));
    world.assert_no_trace();
}

fn a_window_that_changes_is_told_inside() {
    let world = World::new();
    let mut session = world.at_a_terminal(&RUN);
    session.expect("# ");
    session.type_line("trap 'stty size' WINCH; echo s''et");
    session.expect("set\r\n");
    let of = format!("--file={}", session.terminal());
    let mut stty = std::process::Command::new("stty");
    let stty = stty.args([&of, "rows", "11", "cols", "22"]).status();
    assert!(stty.expect("stty(1) runs").success());
    session.type_line("true");
    session.expect("11 22");
    session.type_line("exit");
    session.end();
}
