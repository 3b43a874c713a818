//! Whose end is the end of a container's process, and who may open its gate.
//!
//! No namespace is needed for it, so this runs everywhere. It is a program with
//! one thread: what it tries begins with fork(2).

use std::{
    convert::Infallible,
    io::{PipeWriter, Read, Write, pipe},
    os::fd::OwnedFd,
    thread::sleep,
    time::Duration,
};

use common::{
    Child, NewProcess,
    process::{self, EndsWith, Gate},
};
use nix::{
    errno::Errno,
    sys::{prctl, wait::waitpid},
    unistd::{Pid, getpid, getppid},
};

/// What the container's process says when it has passed its gate, and when its
/// creator is gone.
const PASSED: &str = "passed";
const GOES_ON: &str = ", goes on";

/// What a creator does with the process, before it ends.
type Deed = fn(Child) -> anyhow::Result<()>;

fn main() {
    // Orphans come to us, so that nothing is left.
    prctl::set_child_subreaper(true).expect("prctl(PR_SET_CHILD_SUBREAPER)");

    let alone = format!("{PASSED}{GOES_ON}");
    let tries: [(&str, EndsWith, Deed, &str); 5] = [
        ("ends with its creator", EndsWith::Creator, start, PASSED),
        ("ends with nobody", EndsWith::Nobody, start, &alone),
        (
            "another opens its gate",
            EndsWith::Nobody,
            hand_over,
            &alone,
        ),
        ("nobody opens its gate", EndsWith::Nobody, let_go, ""),
        ("is not given away", EndsWith::Creator, hand_over, ""),
    ];
    for (what, ends_with, deed, expected) in tries {
        assert_eq!(said(ends_with, deed), expected, "{what}");
        println!("a process that {what}: {expected:?}");
    }
}

/// Opens the gate, and gives the process the time to pass it.
fn start(child: Child) -> anyhow::Result<()> {
    child.start()?;
    sleep(Duration::from_millis(300));
    process::exit(0)
}

/// Gives the process away, as a descriptor, to one that opens the gate when
/// nobody else is left.
fn hand_over(child: Child) -> anyhow::Result<()> {
    let gate = OwnedFd::from(child.hand_over()?);
    let creator = getpid();
    process::fork(|| {
        wait_for_the_end_of(creator);
        Gate::from(gate).open()?;
        process::exit(0)
    })?;
    Ok(())
}

fn let_go(child: Child) -> anyhow::Result<()> {
    child.hand_over().map(drop)
}

/// What a process says up to its end, whose creator does this and ends.
fn said(ends_with: EndsWith, deed: Deed) -> String {
    let (mut theirs, ours) = pipe().expect("pipe()");
    let creator = process::fork(|| {
        deed(create(ends_with, &ours)?)?;
        process::exit(0)
    });
    drop(ours);
    creator.expect("fork()");
    let mut text = String::new();
    theirs.read_to_string(&mut text).expect("read()");
    // All that ends must end, and be ours.
    while waitpid(None::<Pid>, None) != Err(Errno::ECHILD) {}
    text
}

fn create(ends_with: EndsWith, output: &PipeWriter) -> anyhow::Result<Child> {
    let mut output = output.try_clone()?;
    let creator = getpid();
    let container = move || -> anyhow::Result<Infallible> {
        output.write_all(PASSED.as_bytes())?;
        wait_for_the_end_of(creator);
        output.write_all(GOES_ON.as_bytes())?;
        process::exit(0)
    };
    let process = NewProcess {
        ends_with,
        ..NewProcess::default()
    };
    process.spawn(container)
}

/// Waits until our parent `creator` is gone; and a little longer, for what the
/// kernel sends to its children then.
fn wait_for_the_end_of(creator: Pid) {
    while getppid() == creator {
        sleep(Duration::from_millis(1));
    }
    sleep(Duration::from_millis(50));
}
