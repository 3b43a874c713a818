//! Who removes a cgroup: its creator, or whoever it was given to.
//!
//! It is a program with one thread, since the creator is a child of it.

use std::{
    io::{Read, Write, pipe},
    path::PathBuf,
    process::ExitCode,
};

use common::process::{self, fork};
use step04_cgroups::{Cgroup, Limits, remove};

/// One limit, which was asked for: it must be enforced.
const LIMITS: Limits = Limits {
    memory: Some(64 << 20),
    cpus: None,
    pids_limit: None,
};

fn main() -> ExitCode {
    if let Err(error) = Cgroup::create(&LIMITS) {
        println!("skipped, there is no cgroup to be had here: {error:#}");
        return match nix::unistd::geteuid().is_root() {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        };
    }
    let kept = left_by(|cgroup| cgroup.directories().map(path).collect());
    assert!(!kept.is_empty() && kept.iter().all(|path| !path.exists()));

    let given = left_by(Cgroup::hand_over);
    assert!(!given.is_empty() && given.iter().all(|path| path.is_dir()));
    given.iter().for_each(|path| remove(path));
    assert!(given.iter().all(|path| !path.exists()));
    println!("a cgroup goes with its owner: as expected");
    ExitCode::SUCCESS
}

fn path<T>((path, _): (&std::path::Path, T)) -> PathBuf {
    path.to_owned()
}

/// The directories of a cgroup that another process has made, when that one has
/// done this with it and is gone.
fn left_by(deed: fn(Cgroup) -> Vec<PathBuf>) -> Vec<PathBuf> {
    let (mut theirs, mut ours) = pipe().expect("pipe()");
    let creator = fork(|| {
        for path in deed(Cgroup::create(&LIMITS)?) {
            writeln!(ours, "{}", path.display())?;
        }
        process::exit(0)
    });
    drop(ours);
    let creator = creator.expect("fork()");
    process::wait(creator).expect("it is our child");
    let mut text = String::new();
    theirs.read_to_string(&mut text).expect("read()");
    text.lines().map(PathBuf::from).collect()
}
