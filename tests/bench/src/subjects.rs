//! What is measured: the floor, the limit, the steps, and each step's straight
//! C program.

use std::{ffi::OsString, path::Path};

use serde::{Deserialize, Serialize};

use crate::{place::Place, programs::STEPS};

/// What a subject is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A process that is not isolated at all.
    Floor,
    /// What everything is compared with.
    Limit,
    /// A step's calls, in C.
    Straight(usize),
    /// A step of this project.
    Step(usize),
    /// Somebody else's tool.
    Peer,
}

/// A command that starts a container, waits for its end and exits.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// What it isolates, in a line.
    pub(crate) isolates: String,
    /// Program and arguments. [`ID`] in an argument stands for a name that is
    /// new in every run.
    pub(crate) command: Vec<OsString>,
}

/// Stands for the name of a container.
pub(crate) const ID: &str = "{id}";

impl Subject {
    pub(crate) fn new(
        name: impl Into<String>,
        kind: Kind,
        isolates: impl Into<String>,
        command: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Subject {
        Subject {
            name: name.into(),
            kind,
            isolates: isolates.into(),
            command: command.into_iter().map(Into::into).collect(),
        }
    }
}

/// What each step adds, and the straight program with it.
const ADDS: [&str; 6] = [
    "UTS namespace",
    "+ PID namespace, init",
    "+ mount namespace, pivot_root, /proc, the host's /dev",
    "+ memory, CPU and pids cgroup",
    "+ overlay",
    "+ user, net, IPC, cgroup namespaces, /dev, masks, capabilities, seccomp",
];

/// All subjects that are ours. `cgroups` are the parents of the straight
/// programs' cgroups.
pub(crate) fn own(
    programs: &Path,
    place: &Place,
    cgroups: &[String; 3],
) -> Vec<Subject> {
    let rootfs = place.rootfs();
    let host_true = rootfs.join("bin/true");
    let [memory, _, pids] = cgroups;

    let mut subjects = vec![
        Subject::new("fork + exec", Kind::Floor, "nothing", [&host_true]),
        Subject::new(
            "the limit",
            Kind::Limit,
            "all namespaces but user; overlay; memory and pids cgroup",
            [
                programs.join("limit").into_os_string(),
                rootfs.clone().into(),
                "/bin/true".into(),
                memory.into(),
                pids.into(),
            ],
        ),
    ];
    for number in 1..=STEPS.len() {
        subjects.push(Subject::new(
            format!("straight {number}"),
            Kind::Straight(number),
            format!("as step {number}"),
            straight(number, programs, place, cgroups, &[]),
        ));
        subjects.push(Subject::new(
            format!("step {number}"),
            Kind::Step(number),
            ADDS[number - 1],
            step(number, programs, place, "true", &[]),
        ));
    }
    subjects
}

/// The command line of the straight program for a step.
pub(crate) fn straight(
    number: usize,
    programs: &Path,
    place: &Place,
    cgroups: &[String; 3],
    lower: &[OsString],
) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![
        programs.join("steps").into(),
        number.to_string().into(),
        place.rootfs().into(),
        command_path(number, place, "true"),
    ];
    command.extend(cgroups.iter().map(OsString::from));
    command.extend(lower.iter().cloned());
    command
}

/// The command line of a step that runs a program of the root file system.
pub(crate) fn step(
    number: usize,
    programs: &Path,
    place: &Place,
    program: &str,
    lower: &[OsString],
) -> Vec<OsString> {
    let mut command: Vec<OsString> =
        vec![programs.join(STEPS[number - 1]).into(), "run".into()];
    if number >= 3 {
        command.extend(["--rootfs".into(), place.rootfs().into()]);
    }
    for layer in lower {
        command.extend(["--lower".into(), layer.clone()]);
    }
    command.extend(["--".into(), command_path(number, place, program)]);
    command
}

/// Steps 1 and 2 have no root of their own: they see the host's files.
fn command_path(number: usize, place: &Place, program: &str) -> OsString {
    let inside = Path::new("/bin").join(program);
    match number {
        1 | 2 => place.rootfs().join("bin").join(program).into(),
        _ => inside.into(),
    }
}
