//! A run at a terminal: a shell with job control, Ctrl-C, Ctrl-Z.
//!
//! The terminal echoes what is typed, so the test types words in two halves
//! (`rea''dy`) and waits for the whole.

use nix::sys::{signal::Signal, termios::LocalFlags};
use tests::{
    ALL, MOUNT, Step, Test,
    host::{only_child, signal, state, status},
    image::Image,
    programs,
    pty::Session,
    tests, wait_until,
};

pub(crate) const TESTS: &[Test] = tests![
    an_interactive_shell_has_a_prompt_and_an_exit_code,
    an_interactive_shell_has_job_control,
    ctrl_c_arrives_once,
    ctrl_c_comes_from_the_kernel_alone,
    the_terminal_comes_back_after_the_run,
    the_terminal_comes_back_in_the_modes_that_it_had,
    ctrl_z_stops_a_command_and_fg_continues_it,
    a_run_in_the_background_leaves_the_terminal_alone,
    a_reader_that_goes_away_causes_no_panic,
];

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

fn program(step: Step) -> String {
    needs_namespaces();
    programs::path(step.name).display().to_string()
}

fn needs_namespaces() {
    tests::needs::user_namespaces();
}

/// Starts an interactive shell in a container of `step`, from a shell outside.
fn shell_in(step: Step) -> Session {
    let mut session = Session::shell();
    let program = program(step);
    session.type_line(&format!("{program} run --env PS1='in''side> '"));
    session.expect("inside> ");
    session
}

fn an_interactive_shell_has_a_prompt_and_an_exit_code() {
    for step in ALL {
        let mut session = shell_in(step);
        session.type_line("echo I am in $(host''name)");
        session.expect("I am in box");
        session.expect("inside> ");
        session.type_line("exit 3");
        session.expect("host$ ");
        session.type_line("echo code=$?");
        session.expect("code=3");
    }
}

fn an_interactive_shell_has_job_control() {
    for step in ALL {
        let mut session = shell_in(step);
        let shell = session.foreground();
        session.type_line("sh -c 'echo star\"\"ted; exec sleep 100'");
        session.expect("started");
        let job = session.foreground();
        assert_ne!(job, shell, "{}: the job has the terminal", step.name);

        session.press(CTRL_Z);
        session.expect("inside> ");
        session.type_line("fg");
        has_terminal(&session, job);
        session.press(CTRL_C);
        session.expect("inside> ");
        session.type_line("echo code=$?");
        session.expect("code=130");
        session.type_line("exit");
        session.expect("host$ ");
    }
}

fn has_terminal(session: &Session, group: i32) {
    wait_until("the job to have the terminal", || {
        (session.foreground() == group).then_some(())
    });
}

/// The kernel sends it to each process of the foreground group. If a supervisor
/// passed it on as well, the command would have it twice.
fn ctrl_c_arrives_once() {
    let script = "n=0; trap 'n=$((n+1)); echo got $n' INT; echo rea\"\"dy; \
                  while [ $n -lt 2 ]; do sleep 0.01; done; \
                  sleep 0.05; echo count=$n";
    for step in ALL {
        // A run whose input is no terminal stays in the foreground group with
        // its container, so that the kernel sends it to both.
        for input in ["", "</dev/null"] {
            let run = format!(r#"exec "$0" run -- sh -c "$1" {input}"#);
            let mut session =
                Session::start(["sh", "-c", &run, &program(step), script]);
            session.expect("ready");
            session.press(CTRL_C);
            session.expect("got 1");
            session.press(CTRL_C);
            session.expect("got 2");
            session.expect("count=2");
            assert_eq!(session.end(), Some(0), "{} {input}", step.name);
        }
    }
}

/// One that comes while another is pending is lost. So the supervisor, which
/// might pass it on, is stopped until the command has taken its own, and has to
/// come to rest before the next one.
fn ctrl_c_comes_from_the_kernel_alone() {
    let image = Image::minimal();
    let root = image.path().display();
    for step in ALL {
        let command = match step < MOUNT {
            true => format!("run -- {root}/helper"),
            false => format!("run --rootfs {root} -- /helper"),
        };
        // Ctrl-C would also discard what is printed and not read yet.
        let script = format!(
            "stty noflsh; exec \"$0\" {command} watch-interrupts </dev/null"
        );
        let mut session = Session::start(["sh", "-c", &script, &program(step)]);
        session.expect("ready");
        let supervisor = session.leader();
        let interrupt = |session: &mut Session| {
            session.press(CTRL_C);
            session.expect("interrupted by ");
            assert_eq!(session.expect("."), "the kernel", "{}", step.name);
        };
        signal(supervisor, Signal::SIGSTOP);
        wait_until("the supervisor to stop", || {
            (state(supervisor)? == 'T').then_some(())
        });
        interrupt(&mut session);
        signal(supervisor, Signal::SIGCONT);
        for pid in [supervisor, only_child(supervisor)] {
            wait_until("what is pending to be done", || {
                is_at_rest(pid).then_some(())
            });
        }
        interrupt(&mut session);
        signal(supervisor, Signal::SIGTERM);
        assert_eq!(session.end(), Some(143), "{}", step.name);
    }
}

/// It waits, and has no signals to look at.
fn is_at_rest(pid: i32) -> bool {
    let pending = status(pid, "ShdPnd");
    state(pid) == Some('S') && pending.bytes().all(|digit| digit == b'0')
}

/// A shell without job control does not take the terminal back itself.
fn the_terminal_comes_back_after_the_run() {
    for step in ALL {
        let script =
            format!("{} run -- true; echo done; read _", program(step));
        let mut session = Session::start(["sh", "-c", &script]);
        session.expect("done");
        assert_eq!(session.foreground(), session.leader(), "{}", step.name);
    }
}

fn the_terminal_comes_back_in_the_modes_that_it_had() {
    for step in ALL {
        let inside = "stty -echo -icanon; echo changed; kill -KILL $$";
        let script = format!(
            "{} run -- sh -c '{inside}'; echo code=$?; read _",
            program(step)
        );
        let mut session = Session::start(["sh", "-c", &script]);
        session.expect("changed");
        session.expect("code=137");
        let modes = session.modes().local_flags;
        let usual = LocalFlags::ECHO | LocalFlags::ICANON;
        assert!(modes.contains(usual), "{}: {modes:?}", step.name);
    }
}

fn ctrl_z_stops_a_command_and_fg_continues_it() {
    for step in ALL {
        let mut session = Session::shell();
        let inside = "echo star''ted; exec sleep 100";
        let program = program(step);
        session.type_line(&format!("{program} run -- sh -c \"{inside}\""));
        session.expect("started");
        let container = session.foreground();
        session.press(CTRL_Z);
        session.expect("host$ ");
        session.type_line("fg");
        has_terminal(&session, container);
        session.press(CTRL_C);
        session.expect("host$ ");
        session.type_line("echo code=$?");
        session.expect("code=130");
    }
}

fn a_run_in_the_background_leaves_the_terminal_alone() {
    for step in ALL {
        let script = format!(
            "{} run -- sh -c 'echo running; exit 6' & wait $!; echo code=$?; \
             read _",
            program(step)
        );
        let mut session = Session::start(["sh", "-c", &script]);
        session.expect("running");
        session.expect("code=6");
        assert_eq!(session.foreground(), session.leader(), "{}", step.name);
    }
}

fn a_reader_that_goes_away_causes_no_panic() {
    for step in ALL {
        let head = step.run().redirected("| head -n 1");
        let run = head.sh("seq 100000");
        assert_eq!(run.ok(), "1", "{}", step.name);
        assert!(!run.stderr.contains("panicked"), "{run}");
        let help = step.run().options(["--help"]).redirected("| :").bare();
        assert_eq!(help.stderr, "", "{}", step.name);
    }
}
