//! A run at a terminal: a shell with job control, Ctrl-C, Ctrl-Z.
//!
//! The terminal echoes what is typed, so the test types words in two halves
//! (`rea''dy`) and waits for the whole.

use std::{
    fs, os::unix::process::ExitStatusExt, process::ExitStatus, thread::sleep,
    time::Duration,
};

use harness::{
    ALL, MOUNT, PID, Step, Test, UTS, claims,
    host::{children, is_at_rest, only_child, signal, state},
    image::Image,
    needs, note, programs,
    pty::Session,
    wait_until,
};
use nix::sys::{signal::Signal, termios::LocalFlags};

pub(crate) const TESTS: &[Test] = claims![
    an_interactive_shell_has_a_prompt_and_an_exit_code,
    an_interactive_shell_has_job_control,
    ctrl_c_arrives_once,
    ctrl_c_in_the_foreground_comes_from_the_kernel_alone,
    ctrl_c_for_a_session_of_its_own_comes_from_the_supervisor_alone,
    ctrl_c_reaches_all_of_a_job,
    ctrl_c_ends_the_loop_around_a_run,
    an_exit_code_of_130_does_not_end_the_loop,
    a_container_that_interrupts_itself_interrupts_nobody_else,
    a_container_has_no_terminal_but_the_one_that_it_was_given,
    what_is_only_written_to_cannot_be_read,
    a_run_in_the_background_does_not_take_what_is_typed,
    a_run_in_the_background_has_no_terminal,
    what_is_typed_is_not_for_a_container_whose_output_goes_elsewhere,
    the_other_end_of_a_pipeline_keeps_the_modes_that_it_has_set,
    a_container_ends_with_the_shell_that_it_was_a_job_of,
    a_terminal_that_is_closed_ends_the_container,
    a_job_that_is_stopped_ends_with_its_terminal,
    the_terminal_comes_back_after_the_run,
    the_terminal_comes_back_in_the_modes_that_it_had,
    the_terminal_works_again_whatever_was_done_to_it,
    the_modes_come_back_also_from_a_session_of_its_own,
    ctrl_z_stops_a_command_and_fg_continues_it,
    a_shell_that_was_stopped_has_the_terminal_again,
    ctrl_z_stops_what_is_in_a_session_of_its_own,
    ctrl_z_does_not_stop_the_leader_of_a_session,
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
    needs::user_namespaces();
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

/// In the foreground the kernel sends it to the init and to the command, in a
/// session of its own to neither.
fn ctrl_c_arrives_once() {
    let script = "n=0; \
                  trap 'n=$((n+1)); echo got $n; [ $n -lt 2 ] || kill $!' INT; \
                  sleep 60 & echo rea\"\"dy; \
                  while [ $n -lt 2 ]; do wait; done; wait; echo count=$n";
    for step in ALL {
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

/// Starts the helper as the command of a container that is the leader of a
/// session.
fn watch_interrupts(step: Step, image: &Image, input: &str) -> Session {
    let root = image.path().display();
    let command = match step < MOUNT {
        true => format!("run -- {root}/helper"),
        false => format!("run --rootfs {root} -- /helper"),
    };
    // Ctrl-C would also discard what is printed and not read yet.
    let script =
        format!("stty noflsh; exec \"$0\" {command} watch-interrupts {input}");
    let mut session = Session::start(["sh", "-c", &script, &program(step)]);
    session.expect("ready");
    session
}

/// A signal that comes while the same is pending is lost. So the init, which
/// might pass it on as well, is stopped until the command has taken its own,
/// and has to come to rest before the next one.
fn ctrl_c_in_the_foreground_comes_from_the_kernel_alone() {
    let image = Image::minimal();
    for step in ALL {
        let mut session = watch_interrupts(step, &image, "");
        let supervisor = session.leader();
        let others = match step {
            UTS => vec![supervisor],
            _ => vec![only_child(supervisor), supervisor],
        };
        for _ in 0..2 {
            // The supervisor first: it would continue its child.
            for pid in others.iter().rev() {
                signal(*pid, Signal::SIGSTOP);
                wait_until("it to stop", || {
                    (state(*pid)? == 'T').then_some(())
                });
            }
            session.press(CTRL_C);
            session.expect("interrupted by ");
            assert_eq!(session.expect("."), "the kernel", "{}", step.name);
            for pid in &others {
                signal(*pid, Signal::SIGCONT);
            }
            for pid in &others {
                wait_until("what is pending to be done", || {
                    is_at_rest(*pid).then_some(())
                });
            }
        }
        signal(supervisor, Signal::SIGTERM);
        session.expect("2 in all.");
        assert_eq!(session.end(), Some(0), "{}", step.name);
    }
}

/// The container is in no group of this terminal. What the supervisor gets it
/// passes on, once.
fn ctrl_c_for_a_session_of_its_own_comes_from_the_supervisor_alone() {
    let image = Image::minimal();
    for step in ALL {
        let mut session = watch_interrupts(step, &image, "</dev/null");
        let supervisor = session.leader();
        for _ in 0..2 {
            session.press(CTRL_C);
            session.expect("interrupted by ");
            assert_eq!(session.expect("."), "a process", "{}", step.name);
            for pid in [supervisor, only_child(supervisor)] {
                wait_until("what is pending to be done", || {
                    is_at_rest(pid).then_some(())
                });
            }
        }
        signal(supervisor, Signal::SIGTERM);
        session.expect("2 in all.");
        assert_eq!(session.end(), Some(0), "{}", step.name);
    }
}

/// As at any terminal: the shell waits for what it has started, and only when
/// that has ended it ends itself.
fn ctrl_c_reaches_all_of_a_job() {
    for step in ALL {
        for input in ["", "</dev/null", "| cat"] {
            let script = format!(
                "\"$0\" run sh -c 'sh -c \"echo star\\\"\\\"ted; exec sleep 100\"; \
                 echo on' {input}"
            );
            note(format!("{} {input}", step.name));
            let mut session =
                Session::start(["sh", "-c", &script, &program(step)]);
            session.expect("started");
            session.press(CTRL_C);
            let status = session.status();
            let interrupt = Some(Signal::SIGINT as i32);
            assert_eq!(status.signal(), interrupt, "{} {input}", step.name);
        }
    }
}

/// A shell ends its loop if its command has died of the signal, and if the shell
/// has got it as well.
fn ctrl_c_ends_the_loop_around_a_run() {
    for step in ALL {
        for shell in ["sh", "bash"] {
            if needs::find_tool(shell).is_none() {
                continue;
            }
            for input in ["", "</dev/null", "| cat"] {
                let inside = "echo rea\"\"dy; exec sleep 100";
                let (status, _) = loop_in(shell, step, inside, input, CTRL_C);
                let interrupt = Some(Signal::SIGINT as i32);
                let what = format!("{} in {shell} {input}", step.name);
                assert_eq!(status.signal(), interrupt, "{what}");
            }
        }
    }
}

/// A command may exit with any code, also when Ctrl-C was pressed.
fn an_exit_code_of_130_does_not_end_the_loop() {
    let trap =
        "trap \"kill \\$!; exit 130\" INT; sleep 100 & echo rea\"\"dy; wait";
    for step in ALL {
        for (inside, key) in [(trap, CTRL_C), ("echo rea\"\"dy; exit 130", "")]
        {
            let (status, code) = loop_in("sh", step, inside, "", key);
            assert_eq!(status.code(), Some(0), "{}", step.name);
            assert_eq!(code, "130", "{}", step.name);
        }
    }
}

/// Runs `inside` twice, each in a container, and presses `key` as soon as it is
/// ready. Returns how the loop has ended and, if it did not end at once, the
/// exit code of its last command.
fn loop_in(
    shell: &str,
    step: Step,
    inside: &str,
    input: &str,
    key: &str,
) -> (ExitStatus, String) {
    let script = format!(
        "for i in 1 2; do \"$0\" run sh -c '{inside}' {input}; done; echo \
         co\"\"de=$?."
    );
    note(format!("{} {shell}: {script}", step.name));
    let mut session = Session::start([shell, "-c", &script, &program(step)]);
    session.expect("ready");
    session.press(key);
    let mut code = String::new();
    if inside.contains("130") {
        session.expect("ready");
        session.press(key);
        session.expect("code=");
        code = session.expect(".");
    }
    (session.status(), code)
}

/// The container can end by SIGINT whenever it likes. Only what was typed may
/// reach those who have started it.
fn a_container_that_interrupts_itself_interrupts_nobody_else() {
    // In step 1 nothing keeps it from signalling whom it wants.
    for step in PID.and_later() {
        let script = "trap 'echo h\"\"it' INT; \"$0\" run sh -c 'kill -INT $$'; \
                      echo code=$?";
        let mut session = Session::start(["sh", "-c", script, &program(step)]);
        let output = session.expect("code=130");
        assert!(!output.contains("hit"), "{}: {output}", step.name);
    }
}

/// `/dev/tty` is the terminal of the session, also for those who were given
/// other files.
fn a_container_has_no_terminal_but_the_one_that_it_was_given() {
    for step in ALL {
        for (redirection, answer) in [
            ("</dev/null 2>&1 | cat", "none"),
            ("| cat", "none"),
            ("</dev/null", "none"),
            ("", "one"),
        ] {
            let script = format!(
                "\"$0\" run sh -c '(: </dev/tty) 2>/dev/null && echo o\"\"ne || \
                 echo no\"\"ne' {redirection}; echo e\"\"nd; read _"
            );
            let mut session =
                Session::start(["sh", "-c", &script, &program(step)]);
            let output = session.expect("end");
            let what = format!("{} {redirection}", step.name);
            // A plain user without limits is warned.
            assert_eq!(output.lines().last(), Some(answer), "{what}");
        }
    }
}

/// A shell gives its jobs one file for all three, open for reading and writing.
fn what_is_only_written_to_cannot_be_read() {
    for step in ALL {
        for (inside, redirection) in [
            ("<&2", "</dev/null"),
            ("<&1", "</dev/null"),
            ("<&2", "| cat"),
        ] {
            let script = format!(
                "\"$0\" run sh -c 'read x {inside} 2>/dev/null || echo clo\"\"sed' \
                 {redirection}; echo en\"\"d; read x; echo x=$x"
            );
            let mut session =
                Session::start(["sh", "-c", &script, &program(step)]);
            session.expect("closed");
            session.expect("end");
            session.type_line("for the shell");
            session.expect("x=for the shell");
        }
    }
}

/// The terminal is the shell's then, and who is in its session could take it.
fn a_run_in_the_background_has_no_terminal() {
    for step in ALL {
        for redirection in ["</dev/null", "</dev/null >/dev/null", ""] {
            let mut session = Session::shell();
            let program = program(step);
            session.type_line(&format!(
                "{program} run sh -c '(: </dev/tty) 2>/dev/null && \
                 echo o\"\"ne >&2 || echo no\"\"ne >&2' {redirection} & wait; \
                 echo e''nd"
            ));
            let output = session.expect("end");
            let what = format!("{} {redirection}: {output}", step.name);
            let has_said = |line: &str| line.trim() == "none";
            assert!(output.lines().any(has_said), "{what}");
        }
    }
}

fn a_run_in_the_background_does_not_take_what_is_typed() {
    for step in ALL {
        for output in ["", ">/dev/null"] {
            let mut session = Session::shell();
            let program = program(step);
            session.type_line(&format!("{program} run cat {output} &"));
            session.expect("host$ ");
            session.type_line("wait; echo en''ded");
            session.expect("ended");
            session.type_line("echo hea''rd");
            session.expect("heard");
        }
    }
}

/// Its standard input would be the terminal, and its output is not.
fn what_is_typed_is_not_for_a_container_whose_output_goes_elsewhere() {
    for step in ALL {
        let mut session = Session::shell();
        let program = program(step);
        let inside = "cat; echo no in''put; sleep 0.3";
        session.type_line(&format!("{program} run sh -c \"{inside}\" | cat"));
        session.expect("no input");
        // Ahead, for whom it is when the container has ended.
        session.type_line("echo hea''rd");
        session.expect("heard");
    }
}

/// As `less` does in `run … | less`, which goes on when the container has ended.
fn the_other_end_of_a_pipeline_keeps_the_modes_that_it_has_set() {
    for step in ALL {
        let reader = "read line; stty -echo -icanon </dev/tty; cat; \
                      echo e\"\"nd; read x </dev/tty";
        let script = format!(
            "{} run -- sh -c 'echo; sleep 0.3' | sh -c '{reader}'",
            program(step)
        );
        let mut session = Session::start(["sh", "-c", &script]);
        session.expect("end");
        let modes = session.modes().local_flags;
        let changed = LocalFlags::ECHO | LocalFlags::ICANON;
        assert!(!modes.intersects(changed), "{}: {modes:?}", step.name);
    }
}

/// Nobody could continue it any more, and the terminal is another shell's.
fn a_container_ends_with_the_shell_that_it_was_a_job_of() {
    for step in ALL {
        let mut session = Session::shell();
        session.type_line("PS1='in''ner$ ' sh -i");
        session.expect("inner$ ");
        let inner = only_child(session.leader());
        let program = program(step);
        session.type_line(&format!("{program} run --env PS1='in''side> '"));
        session.expect("inside> ");
        let supervisor = only_child(inner);
        signal(inner, Signal::SIGKILL);
        session.expect("host$ ");
        wait_until("the end of the container", || {
            // It waits for one line already, as any shell would.
            session.type_line("");
            sleep(Duration::from_millis(20));
            state(supervisor).is_none_or(|it| it == 'Z').then_some(())
        });
        session.type_line("echo hea''rd");
        session.expect("heard");
    }
}

/// SIGHUP is for the leader of the session alone, and for the foreground when
/// the leader has ended.
fn a_terminal_that_is_closed_ends_the_container() {
    let loops = "while :; do sleep 1; done";
    for step in ALL {
        for input in ["", "</dev/null", "| cat"] {
            for (shell, arguments) in [
                // The leader is the supervisor, a script, a shell.
                ("sh", vec!["-c", "exec "]),
                ("sh", vec!["-c", ""]),
                ("bash", vec!["--norc", "-i"]),
            ] {
                if needs::find_tool(shell).is_none()
                    || (input == "| cat" && arguments[1] == "exec ")
                {
                    continue;
                }
                let line = format!(
                    "\"{}\" run sh -c 'echo rea\"\"dy; {loops}' {input}",
                    program(step),
                );
                let mut session;
                if arguments[0] == "-c" {
                    let script = match arguments[1] {
                        "" => format!("{line}; echo ended"),
                        exec => format!("{exec}{line}"),
                    };
                    session = Session::start([shell, "-c", &script]);
                } else {
                    session =
                        Session::start([&[shell], &arguments[..]].concat());
                    session.type_line(&line);
                }
                session.expect("ready");
                let family = descendants(session.leader());
                assert!(family.len() >= 2, "{family:?}");
                note(format!("{line} {shell} {arguments:?} {family:?}"));
                session.hang_up();
                wait_until("the end of the container", || {
                    let mut alive = family.iter().filter_map(|pid| state(*pid));
                    alive.all(|state| state == 'Z').then_some(())
                });
            }
        }
    }
}

/// A shell that loses its terminal hangs up on its jobs before it ends.
fn a_job_that_is_stopped_ends_with_its_terminal() {
    needs::tool("bash");
    for step in ALL {
        let mut session = Session::start(["bash", "--norc", "-i"]);
        session.expect("host$ ");
        let program = program(step);
        let inside = "echo star''ted; sleep 100; :";
        session.type_line(&format!("{program} run sh -c \"{inside}\""));
        session.expect("started");
        // Only then: while sleep(1) is a vfork(2) that has not yet called
        // execve(2), the shell waits for it where no signal stops it.
        let family = wait_until("sleep", || {
            let family = descendants(session.leader());
            family
                .iter()
                .any(|pid| name(*pid) == "sleep")
                .then_some(family)
        });
        session.press(CTRL_Z);
        session.expect("host$ ");
        note(format!("{} {family:?}", step.name));
        session.hang_up();
        wait_until("the end of the container", || {
            let mut alive = family.iter().filter_map(|pid| state(*pid));
            alive.all(|state| state == 'Z').then_some(())
        });
    }
}

/// What the process `pid` executes; nothing, if it has ended.
fn name(pid: i32) -> String {
    let path = format!("/proc/{pid}/comm");
    let name = fs::read_to_string(path).unwrap_or_default();
    name.trim_end().to_owned()
}

/// The process `pid`, its children, and theirs.
fn descendants(pid: i32) -> Vec<i32> {
    let mut family = vec![pid];
    for (child, _) in children(pid) {
        family.extend(descendants(child));
    }
    family
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

/// Its process group is not the container's first one: it has job control.
fn a_shell_that_was_stopped_has_the_terminal_again() {
    for step in ALL {
        let mut session = shell_in(step);
        let shell = session.foreground();
        for _ in 0..2 {
            session.type_line("kill -STOP $$");
            session.expect("host$ ");
            session.type_line("fg");
            has_terminal(&session, shell);
            session.type_line("echo bac''k");
            session.expect("back");
        }
        session.type_line("exit");
        session.expect("host$ ");
    }
}

/// The container does not hear it, and stops all the same.
fn ctrl_z_stops_what_is_in_a_session_of_its_own() {
    for step in ALL {
        let mut session = Session::shell();
        let program = program(step);
        let inside = "echo star''ted; exec sleep 100";
        session.type_line(&format!(
            "{program} run -- sh -c \"{inside}\" </dev/null"
        ));
        session.expect("started");
        let command = match step {
            UTS => only_child(session.foreground()),
            _ => only_child(only_child(session.foreground())),
        };
        session.press(CTRL_Z);
        session.expect("host$ ");
        wait_until("the command to be stopped", || {
            (state(command)? == 'T').then_some(())
        });
        session.type_line("bg");
        session.expect("host$ ");
        wait_until("the command to go on", || {
            (state(command)? != 'T').then_some(())
        });
        session.type_line("fg");
        session.expect("/dev/null");
        session.press(CTRL_C);
        session.expect("host$ ");
        session.type_line("echo code=$?");
        session.expect("code=130");
    }
}

/// Nobody could continue it.
fn ctrl_z_does_not_stop_the_leader_of_a_session() {
    for step in ALL {
        let script =
            "exec \"$0\" run sh -c 'echo rea\"\"dy; read x; echo x=$x'";
        let mut session = Session::start(["sh", "-c", script, &program(step)]);
        session.expect("ready");
        session.press(CTRL_Z);
        session.type_line("still here");
        session.expect("x=still here");
        assert_eq!(session.end(), Some(0), "{}", step.name);
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

/// Some states keep even the modes from being set.
fn the_terminal_works_again_whatever_was_done_to_it() {
    let image = Image::minimal();
    for step in ALL {
        let root = image.path().display();
        let command = match step < MOUNT {
            true => format!("run -- {root}/helper"),
            false => format!("run --rootfs {root} -- /helper"),
        };
        for state in ["stopped", "line-discipline", "exclusive", "nonblocking"]
        {
            let program = program(step);
            let script = format!(
                "{program} {command} disturb-terminal {state}; echo do\"\"ne; \
                 read x; echo x=$x"
            );
            note(script.clone());
            let mut session = Session::start(["sh", "-c", &script]);
            session.expect("done");
            session.type_line("still here");
            session.expect("x=still here");
            assert!(!session.is_exclusive(), "{}", step.name);
        }
    }
}

/// It was not given the terminal, but writes to it.
fn the_modes_come_back_also_from_a_session_of_its_own() {
    for step in ALL {
        let inside = "stty -echo -icanon <&2; echo changed";
        let script = format!(
            "{} run -- sh -c '{inside}' </dev/null; echo e\"\"nd; read _",
            program(step)
        );
        let mut session = Session::start(["sh", "-c", &script]);
        session.expect("changed");
        session.expect("end");
        let modes = session.modes().local_flags;
        let usual = LocalFlags::ECHO | LocalFlags::ICANON;
        assert!(modes.contains(usual), "{}: {modes:?}", step.name);
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
        // Nor is the command told: SIGPIPE ends it.
        assert!(!run.stderr.contains("roken pipe"), "{run}");
        let help = step.run().options(["--help"]).redirected("| :").bare();
        assert_eq!(help.stderr, "", "{}", step.name);
    }
}
