//! Two machines that are none: network namespaces, with a cable between them.
//!
//! One stands for the reader's machine, `host`, the other one for a neighbour in
//! the same network, `lan`. A network namespace belongs to a thread, and to what
//! that thread starts; so a thread goes there, and this process stays where it is.
#![allow(unsafe_code)]

use std::{
    fs::File,
    panic::resume_unwind,
    process::{Command, Output},
    thread,
};

use harness::needs;
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::gettid,
};

/// The host's own address, and its neighbour's.
pub(crate) const HOST: &str = "192.168.50.1";
pub(crate) const HOST_6: &str = "fd50::1";
pub(crate) const LAN: &str = "192.168.50.9";

/// A network namespace. It is there as long as this.
pub(crate) struct Machine(File);

impl Machine {
    fn new() -> Machine {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may");
            let path = format!("/proc/self/task/{}/ns/net", gettid());
            let machine = Machine(File::open(path).expect("it is ours"));
            ip("link set lo up");
            machine
        });
        made.join().expect("a namespace")
    }

    /// The container of which `init` is the first process.
    pub(crate) fn of(init: i32) -> Machine {
        let path = format!("/proc/{init}/ns/net");
        Machine(File::open(path).expect("root may"))
    }

    /// Does `work` on this machine.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("root may");
                work()
            });
            there.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

/// Both of them.
pub(crate) struct Lab {
    pub(crate) host: Machine,
    pub(crate) lan: Machine,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        needs::root();
        needs::tool("ip");
        let lab = Lab {
            host: Machine::new(),
            lan: Machine::new(),
        };
        // The other end of the cable goes to where a thread of ours is.
        let (here, is_here) = std::sync::mpsc::channel();
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(|| {
                lab.lan.run(move || {
                    here.send(gettid()).expect("somebody waits");
                    is_done.recv().expect("it is done");
                    for words in [
                        "addr add 192.168.50.9/24 dev eth0",
                        "addr add fd50::9/64 dev eth0 nodad",
                        "link set eth0 up",
                    ] {
                        ip(words);
                    }
                });
            });
            let lan = is_here.recv().expect("it is there");
            lab.host.run(|| {
                ip(&format!(
                    "link add wan type veth peer name eth0 netns {lan}"
                ));
                ip("addr add 192.168.50.1/24 dev wan");
                ip("addr add fd50::1/64 dev wan nodad");
                ip("link set wan up");
            });
            done.send(()).expect("somebody waits");
        });
        lab
    }
}

/// Runs ip(8).
pub(crate) fn ip(words: &str) {
    tool("ip", words);
}

/// Runs a tool that must not fail.
pub(crate) fn tool(name: &str, words: &str) -> Output {
    let output = Command::new(needs::tool(name))
        .args(words.split_whitespace())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{name} {words}: {output:?}");
    output
}
