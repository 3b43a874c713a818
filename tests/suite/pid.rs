//! Step 2: process numbers of its own, and an init.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command},
};

use harness::{
    ALL, MOUNT, PID, Running, Step, Test, UTS, claims,
    host::{children, is_at_rest, signal, signal_number, state, status},
    image::Image,
    needs, programs,
    pty::Session,
    wait_until,
};
use nix::sys::signal::Signal;

pub(crate) const TESTS: &[Test] = claims![
    the_init_is_number_1_and_the_command_number_2,
    outside_the_same_processes_have_larger_numbers,
    proc_shows_the_host_in_step_2_and_the_container_from_step_3_on,
    ps_shows_two_processes,
    each_step_adds_its_namespaces,
    a_process_of_the_host_can_be_killed_in_step_1_but_not_later,
    the_exit_code_is_that_of_the_command,
    a_command_killed_by_a_signal_gives_128_and_its_number,
    orphans_are_reaped,
    orphans_of_a_crowd_are_reaped,
    the_end_of_the_init_is_the_end_of_all,
    signals_to_the_supervisor_reach_the_command,
    every_signal_to_the_supervisor_reaches_the_command,
    a_signal_that_is_ignored_outside_is_not_passed_on,
    signals_to_a_process_group_stay_inside,
    an_end_by_a_real_time_signal_is_an_end,
    a_command_can_be_stopped_more_often_than_anybody_is_told,
    the_init_survives_what_would_kill_any_other_process,
    a_signal_to_the_init_is_meant_for_the_command,
    without_fork_the_first_child_takes_the_namespace_with_it,
];

/// The steps in which the command has an init: all but the first.
fn with_init() -> impl Iterator<Item = Step> {
    PID.and_later()
}

fn the_init_is_number_1_and_the_command_number_2() {
    for step in with_init() {
        let numbers = step.sh("echo $PPID $$");
        assert_eq!(numbers.ok(), "1 2", "{}", step.name);
    }
}

/// Its status lists the number in each PID namespace, the outermost first. See
/// proc(5).
fn outside_the_same_processes_have_larger_numbers() {
    for step in with_init() {
        let mut container = step.run().start_sh("echo ready; read _");
        container.wait_for("ready");
        for (outside, inside) in
            [(container.init(), 1), (container.command(), 2)]
        {
            let numbers = status(outside, "NSpid");
            let expected = format!("{outside}\t{inside}");
            // If we are in a container ourselves, there are more in front.
            assert!(numbers.ends_with(&expected), "{numbers:?}");
            assert!(outside > inside);
        }
        container.finish().ok();
    }
}

/// The main lesson of the series: `ps` reads `/proc`, and in step 2 that is
/// still the host's, although getpid(2) says 2 already.
fn proc_shows_the_host_in_step_2_and_the_container_from_step_3_on() {
    let host = fs::read_to_string("/proc/1/comm").expect("/proc is mounted");
    let script = "echo $$; cat /proc/1/comm";
    let numbers = PID.sh(script);
    assert_eq!(numbers.ok(), format!("2\n{}", host.trim()));

    for step in MOUNT.and_later() {
        let numbers = step.sh(script);
        assert_eq!(numbers.ok(), format!("2\n{}", comm(step)), "{}", step.name);
    }
}

/// The name of a step's process, which the kernel cuts at 15 bytes.
fn comm(step: Step) -> &'static str {
    &step.name[..step.name.len().min(15)]
}

fn ps_shows_two_processes() {
    let script = "ps -e -o pid= -o ppid= -o comm=";
    for step in MOUNT.and_later() {
        let ps = step.run().command(script.split(' '));
        let rows: Vec<Vec<&str>> = ps
            .ok()
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let init = vec!["1", "0", comm(step)];
        assert_eq!(rows, [init, vec!["2", "1", "ps"]], "{}", step.name);
    }
    let on_the_host = PID.run().command(script.split(' '));
    assert!(on_the_host.ok().lines().count() > 3);
}

/// Two processes are in the same namespace if the link in `/proc` is the same.
/// See namespaces(7).
fn each_step_adds_its_namespaces() {
    let all = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let table: [&[&str]; 6] = [
        &["uts"],
        &["pid", "uts"],
        &["mnt", "pid", "uts"],
        &["mnt", "pid", "uts"],
        &["mnt", "pid", "uts"],
        &["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"],
    ];
    for (step, own) in ALL.into_iter().zip(table) {
        let mut own: BTreeSet<&str> = own.iter().copied().collect();
        if !needs::is_root() {
            // What makes a plain user root.
            own.insert("user");
        }
        let links = step.sh("cd /proc/self/ns; for n in *; do \
                             echo $n $(readlink $n); done");
        let differs = |name: &&str| {
            let outside = fs::read_link(format!("/proc/self/ns/{name}"))
                .expect("the kernel has this namespace");
            let inside = format!("{name} {}", outside.display());
            !links.lines().contains(&inside.as_str())
        };
        links.ok();
        let found: BTreeSet<&str> = all.into_iter().filter(differs).collect();
        assert_eq!(found, own, "{}", step.name);
    }
}

fn a_process_of_the_host_can_be_killed_in_step_1_but_not_later() {
    for step in ALL {
        let mut victim = Victim::new();
        let kill = step.sh(&format!("kill -KILL {}", victim.pid()));
        if step == UTS {
            kill.ok();
            victim.0.wait().expect("it is our child");
        } else {
            assert_ne!(kill.code, 0, "{}", step.name);
            assert!(kill.stderr.contains("No such process"), "{kill}");
            assert_eq!(victim.0.try_wait().expect("our child"), None);
        }
    }
}

/// A process of the host, to be killed.
struct Victim(Child);

impl Victim {
    fn new() -> Victim {
        let sleep = Command::new("sleep").arg("60").spawn();
        Victim(sleep.expect("sleep can be started"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn the_exit_code_is_that_of_the_command() {
    for step in ALL {
        for code in [0, 1, 42, 125, 255] {
            let run = step.sh(&format!("exit {code}"));
            assert_eq!(run.code, code, "{}", step.name);
        }
    }
}

fn a_command_killed_by_a_signal_gives_128_and_its_number() {
    for step in ALL {
        for (signal, code) in [("KILL", 137), ("TERM", 143), ("PIPE", 141)] {
            let run = step.sh(&format!("kill -{signal} $$"));
            assert_eq!(run.code, code, "{} and SIG{signal}", step.name);
        }
    }
}

/// Each of the inner shells ends before its child does.
fn orphans_are_reaped() {
    for step in with_init() {
        let script = "for i in 1 2 3 4 5; do sh -c 'true &'; done; \
                      echo ready; read _";
        let mut container = step.run().start_sh(script);
        container.wait_for("ready");
        wait_until("the end of the orphans", || {
            // One child is left, and that is the command.
            (children(container.init()).len() == 1).then_some(())
        });
        assert_eq!(state(container.command()), Some('S'));
        container.finish().ok();
    }
}

/// A signal that is pending already is not added: one SIGCHLD stands for all
/// children that end while the init is stopped.
fn orphans_of_a_crowd_are_reaped() {
    for step in with_init() {
        let script = "for i in 1 2 3 4 5; do \
                          all=\"$all $(sh -c 'sleep 60 >&2 & echo $!')\"; \
                      done; echo ready; read _; kill -KILL $all; read _";
        let mut container = step.run().start_sh(script);
        container.wait_for("ready");
        let init = container.init();
        signal(init, Signal::SIGSTOP);
        container.type_line("end all others");
        wait_until("the end of the others", || {
            let children = children(init);
            let zombies = children.iter().filter(|(_, state)| *state == 'Z');
            (zombies.count() == 5).then_some(())
        });
        signal(init, Signal::SIGCONT);
        wait_until("the init to reap all of them", || {
            (children(init).len() == 1).then_some(())
        });
        container.finish().ok();
    }
}

/// What the command leaves running the kernel kills, as the namespace ends. The
/// harness looks for what is left.
fn the_end_of_the_init_is_the_end_of_all() {
    for step in with_init() {
        let run = step.sh("sleep 60 & sleep 60 & echo started");
        assert_eq!(run.ok(), "started", "{}", step.name);
    }
}

fn signals_to_the_supervisor_reach_the_command() {
    for step in ALL {
        for signal in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
        ] {
            let name = signal.as_str().trim_start_matches("SIG");
            let script = format!(
                "trap 'echo got {name}; exit 7' {name}; echo ready; \
                 while :; do sleep 0.01; done"
            );
            let mut container = step.run().start_sh(&script);
            container.wait_for("ready");
            container.signal(signal);
            container.wait_for(&format!("got {name}"));
            assert_eq!(container.finish().code, 7, "{}", step.name);
        }
    }
}

/// All but those that are the supervisor's own affair: faults, SIGPIPE, SIGCHLD,
/// SIGIO, and what stops a job. Those of real time have no names, only numbers.
fn every_signal_to_the_supervisor_reaches_the_command() {
    let own = [
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGKILL,
        libc::SIGSEGV,
        libc::SIGPIPE,
        libc::SIGCHLD,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGIO,
        libc::SIGSYS,
        // It ends the helper.
        libc::SIGTERM,
    ];
    let image = Image::minimal();
    for step in ALL {
        let mut container = helper(step, &image, "watch-signals");
        container.wait_for("ready");
        let all = (1..32).chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
        for number in all.filter(|number| !own.contains(number)) {
            signal_number(container.supervisor(), number);
            container.wait_for(&format!("got {number}."));
        }
        container.signal(Signal::SIGTERM);
        let run = container.finish();
        run.ok();
        let twice = run.stdout.matches("got 10.").count();
        assert_eq!(twice, 1, "{}: {}", step.name, run.stdout);
    }
}

/// Starts the suite's helper as the command of a container.
fn helper(step: Step, image: &Image, what: &str) -> Running {
    match step < MOUNT {
        true => {
            let helper = image.path().join("helper");
            step.run().start([helper.as_os_str(), what.as_ref()])
        }
        false => step.run().rootfs(image.path()).start(["/helper", what]),
    }
}

/// nohup(1) ignores SIGHUP and starts a program. Step 6 gives its container a
/// clean slate, so it would die of what its supervisor passes on.
fn a_signal_that_is_ignored_outside_is_not_passed_on() {
    needs::tool("nohup");
    let real_time = libc::SIGRTMIN() + 3;
    for step in ALL {
        let ignoring = format!(r#"trap "" {real_time}; exec nohup "$0" "$@""#);
        for (start, survives) in
            [(ignoring.as_str(), true), (r#"exec "$0" "$@""#, false)]
        {
            for number in [libc::SIGHUP, real_time] {
                let run = step.run().through(start);
                let mut container = run.start_sh(match survives {
                    true => "echo ready; read _; echo survived",
                    false => "echo ready; exec sleep 60",
                });
                container.wait_for("ready");
                signal_number(container.supervisor(), number);
                if !survives {
                    assert_eq!(container.finish().code, 128 + number);
                    continue;
                }
                for pid in [container.supervisor(), container.init()] {
                    wait_until("what is pending to be done", || {
                        is_at_rest(pid).then_some(())
                    });
                }
                container.type_line("");
                container.wait_for("survived");
                assert_eq!(container.finish().ok(), "ready\nsurvived");
            }
        }
    }
}

/// Process groups and sessions cross PID namespaces: kill(0) names all members
/// of one's own group, and whoever has started the container is in one, too.
fn signals_to_a_process_group_stay_inside() {
    let inside = r#"trap : USR1; kill -USR1 0; kill -USR1 -$$; echo rea""dy"#;
    for step in ALL {
        let program = programs::path(step.name);
        for (container, hit) in [
            (r#""$0" run sh -c "$1" </dev/null"#, false),
            (r#""$0" run sh -c "$1" | cat"#, false),
            (r#""$0" run sh -c "$1""#, false),
            (r#"sh -c "$1" </dev/null"#, true),
        ] {
            let script =
                format!("trap 'echo h\"\"it' USR1; {container}; echo e\"\"nd");
            let script = script.as_ref();
            let mut session = Session::start([
                "sh".as_ref(),
                "-c".as_ref(),
                script,
                program.as_os_str(),
                inside.as_ref(),
            ]);
            let output = session.expect("end");
            let name = step.name;
            assert!(output.contains("ready"), "{name}: {output}");
            assert_eq!(output.contains("hit"), hit, "{name}: {container}");
        }
    }
}

/// They have no names, but numbers, up to 64.
fn an_end_by_a_real_time_signal_is_an_end() {
    for step in ALL {
        for number in [34, 40, 64] {
            let run = step.sh(&format!("kill -{number} $$"));
            assert_eq!(run.code, 128 + number, "{}", step.name);
        }
    }
    for step in with_init() {
        let run = step.sh("(sh -c 'kill -40 $$' &); sleep 0.1; echo survived");
        assert_eq!(run.ok(), "survived", "{}", step.name);
    }
}

/// The init tells its parent, which may be stopped itself and listen to nobody.
/// The socket between them is full after some hundred times.
fn a_command_can_be_stopped_more_often_than_anybody_is_told() {
    for step in with_init() {
        let mut container = step.run().start_sh("echo ready; read _");
        container.wait_for("ready");
        let (supervisor, init) = (container.supervisor(), container.init());
        let command = container.command();
        signal(supervisor, Signal::SIGSTOP);
        for _ in 0..600 {
            signal(command, Signal::SIGSTOP);
            wait_until("the init to see it", || {
                (state(command)? == 'T' && is_at_rest(init)).then_some(())
            });
            signal(command, Signal::SIGCONT);
        }
        container.type_line("");
        wait_until("the end of the container", || {
            (state(init)? == 'Z').then_some(())
        });
        signal(supervisor, Signal::SIGCONT);
        container.finish().ok();
    }
}

/// The kernel discards them: number 1 has no handler, and they come from
/// inside. See pid_namespaces(7).
fn the_init_survives_what_would_kill_any_other_process() {
    for step in with_init() {
        let run = step.sh("kill -KILL 1; kill -SEGV 1; kill -STOP 1; \
                           echo alive");
        assert_eq!(run.ok(), "alive", "{}", step.name);
    }
}

fn a_signal_to_the_init_is_meant_for_the_command() {
    for step in with_init() {
        let run = step.sh("trap 'echo passed on; exit 3' TERM; kill -TERM 1; \
                           while :; do sleep 0.01; done");
        assert_eq!((run.code, run.stdout.trim()), (3, "passed on"));
    }
}

/// Why the steps create their process *with* the flag: unshare(2) moves only
/// the children that come later, the first of them is number 1, and with its
/// end the namespace takes no more processes.
fn without_fork_the_first_child_takes_the_namespace_with_it() {
    needs::tool("unshare");
    needs::user_namespaces();
    let own_user = if needs::is_root() {
        ""
    } else {
        "--map-root-user"
    };
    let script = format!(
        "exec unshare {own_user} --pid sh -c 'sh -c \"echo I am \\$\\$\"; \
         /bin/true'"
    );
    let run = Command::new("sh").args(["-c", &script]).output();
    let run = run.expect("sh can be started");
    let stdout = String::from_utf8_lossy(&run.stdout);
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(stdout, "I am 1\n", "{stderr}");
    assert!(stderr.to_lowercase().contains("cannot"), "{stderr}");
}
