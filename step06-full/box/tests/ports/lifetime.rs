//! Nothing of a published port outlives its container.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{self, Child, Stdio},
    thread,
    time::Duration,
};

use harness::{Random, Test, claims, random, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    container::{Container, User, place, users},
    lab::Lab,
    server::ask,
};

pub(crate) const TESTS: &[Test] = claims![
    a_port_is_free_when_its_container_has_ended,
    a_publisher_that_has_ended_is_missed,
    fifty_start_at_once,
    whoever_is_killed_nothing_is_left,
];

/// Not soon after: at once.
fn a_port_is_free_when_its_container_has_ended() {
    for user in users() {
        let first = Container::start(user, &["-p", ":80"]);
        let (_, address) = first.chosen();
        // A connection that has ended is none that keeps the port.
        assert_eq!(ask(address, "hello").expect("an answer"), "hello");
        drop(first);
        let port = format!("{}:80", address.port());
        for _ in 0..5 {
            let again = Container::start(user, &["-p", &port]);
            assert_eq!(ask(address, "hello").expect("an answer"), "hello");
            drop(again);
        }
    }
}

/// The container goes on without it; at its end somebody says why nobody came.
fn a_publisher_that_has_ended_is_missed() {
    for user in users() {
        let container = Container::start(user, &["-p", ":80"]);
        let (_, address) = container.chosen();
        let publisher = Pid::from_raw(container.publisher());
        kill(publisher, Signal::SIGKILL).expect("it is there");
        wait_until("the end of its port", || ask(address, "hello").err());
        let text = container.errors_at_the_end();
        assert!(text.contains("with code 137"), "{text}");
    }
}

fn fifty_start_at_once() {
    let start = |number: usize| {
        let users = users();
        let user = users[number % users.len()];
        let container = Container::start(user, &["-p", ":80"]);
        let (_, address) = container.chosen();
        assert_eq!(ask(address, "hello").expect("an answer"), "hello");
        (container, address)
    };
    let all: Vec<(Container, SocketAddr)> = thread::scope(|scope| {
        let all = (0..50).map(|it| scope.spawn(move || start(it)));
        let all: Vec<_> = all.collect();
        all.into_iter()
            .map(|it| it.join().expect("it runs"))
            .collect()
    });
    let ports: BTreeSet<_> = all.iter().map(|(_, address)| address).collect();
    assert_eq!(ports.len(), 50);
}

/// Parent, publishing process, number 1 or another one of the container, at any
/// moment.
fn whoever_is_killed_nothing_is_left() {
    let mut random = random();
    for user in users() {
        let lab = Lab::new();
        let kills = 100 / users().len();
        lab.host.run(|| {
            for number in 0..kills {
                kill_one(user, &mut random)
                    .unwrap_or_else(|what| panic!("{what}: kill {number}"));
            }
        });
    }
}

fn kill_one(user: User, random: &mut Random) -> Result<(), String> {
    let mark = format!("mark-{}", process::id());
    let mut command =
        place().run(user, &["-p", "8080:80", "-h", &mark], "0.0.0.0:80");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    thread::sleep(Duration::from_micros(random.below(120_000)));
    let ours = family(&child);
    let victim = ours[random.index(ours.len())];
    let _ = kill(Pid::from_raw(victim), Signal::SIGKILL);
    // Without its publishing process a container goes on: nobody needs it here.
    thread::sleep(Duration::from_millis(1));
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    wait_until("the end", || child.try_wait().expect("it is ours"));
    // What the kernel kills with its parent may take a moment.
    wait_until("the end of all of them", || {
        let left = ours.iter().filter(|pid| is_running(**pid)).count();
        (left == 0).then_some(())
    });
    wait_until("the end of all in the lab", || {
        (in_this_network() == 0).then_some(())
    });
    TcpListener::bind("127.0.0.1:8080")
        .map(drop)
        .map_err(|error| format!("the port is not free: {error}"))
}

/// It and all its descendants.
fn family(child: &Child) -> Vec<i32> {
    let mut all = vec![child.id().cast_signed()];
    let mut next = 0;
    while next < all.len() {
        let children = harness::host::children(all[next]).into_iter();
        all.extend(children.map(|(pid, _)| pid));
        next += 1;
    }
    all
}

fn is_running(pid: i32) -> bool {
    let state = harness::host::state(pid);
    state.is_some_and(|it| it != 'Z')
}

/// How many processes of `box` have their root where these tests have put it.
fn in_this_network() -> usize {
    let program = place().path().join("box");
    let is_ours = |process: &Path| {
        let name = fs::read_to_string(process.join("comm"));
        let is_box = name.is_ok_and(|it| it.starts_with("box"));
        let state = fs::read_to_string(process.join("stat"));
        let is_zombie = state.is_ok_and(|it| it.contains(") Z "));
        let path = fs::read_link(process.join("exe"));
        is_box && !is_zombie && path.is_ok_and(|it| it == program)
    };
    let processes = fs::read_dir("/proc").expect("it is there").flatten();
    processes.filter(|it| is_ours(&it.path())).count()
}
