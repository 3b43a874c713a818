//! What is measured: the floor, the limit, the steps, and each step's straight
//! C program.

use std::{ffi::OsString, path::Path};

use ground::STEPS;
use serde::{Deserialize, Serialize};

use crate::place::Place;

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
    /// The same step of another build.
    Before(usize),
    /// Somebody else's tool.
    Peer,
    /// A runtime once more, by one process for each of its calls.
    InCalls,
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

/// What is in the name of every container and cgroup of the benchmark.
pub(crate) const MARK: &str = "six-steps-bench";

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

const LIMIT: &str = "all namespaces but user; overlay; pivot_root; memory and \
                     pids cgroup. Not: capabilities, seccomp, /dev, masks";

/// What each step adds to the one before.
const ADDS: [&str; 6] = [
    "UTS namespace. Not: anything else",
    "as step 1, PID namespace, init",
    "as step 2, mount namespace, pivot_root, /proc. Not: /dev, limits",
    "as step 3, memory, CPU and pids cgroup",
    "as step 4, overlay. Not: user, net, IPC, cgroup namespaces",
    "all namespaces but time; overlay; cgroup; init; capabilities; seccomp; \
     /dev; masks",
];

/// Makes the command lines of what is ours.
pub(crate) struct Maker<'a> {
    pub(crate) programs: &'a Path,
    /// The steps of another build, to be measured beside ours.
    pub(crate) before: Option<&'a Path>,
    pub(crate) place: &'a Place,
    /// The parents of the straight programs' cgroups.
    pub(crate) cgroups: &'a [String; 3],
}

impl Maker<'_> {
    /// All subjects that are ours.
    pub(crate) fn own(&self) -> Vec<Subject> {
        let rootfs = self.place.rootfs();
        let host_true = rootfs.join("bin/true");
        let [memory, _, pids] = self.cgroups;
        let limit = [
            self.programs.join("limit").into_os_string(),
            rootfs.into(),
            "/bin/true".into(),
            memory.into(),
            pids.into(),
        ];
        let mut subjects = vec![
            Subject::new("fork + exec", Kind::Floor, "nothing", [host_true]),
            Subject::new("the limit", Kind::Limit, LIMIT, limit),
        ];
        for number in 1..=STEPS.len() {
            subjects.push(Subject::new(
                format!("straight {number}"),
                Kind::Straight(number),
                format!("as step {number}"),
                self.straight(number, &[]),
            ));
            subjects.push(Subject::new(
                format!("step {number}"),
                Kind::Step(number),
                ADDS[number - 1],
                self.step(number, "true", &[]),
            ));
            if let Some(directory) = self.before {
                let mut command = self.step(number, "true", &[]);
                command[0] = directory.join(STEPS[number - 1]).into();
                subjects.push(Subject::new(
                    format!("step {number}, before"),
                    Kind::Before(number),
                    format!("as step {number}"),
                    command,
                ));
            }
        }
        subjects
    }

    /// The command line of the straight program for a step.
    pub(crate) fn straight(
        &self,
        number: usize,
        lower: &[OsString],
    ) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec![
            self.programs.join("steps").into(),
            number.to_string().into(),
            self.place.rootfs().into(),
            self.command_path(number, "true"),
        ];
        command.extend(self.cgroups.iter().map(OsString::from));
        command.extend(lower.iter().cloned());
        command
    }

    /// The command line of a step that runs a program of the root file system.
    pub(crate) fn step(
        &self,
        number: usize,
        program: &str,
        lower: &[OsString],
    ) -> Vec<OsString> {
        let step = self.programs.join(STEPS[number - 1]);
        let mut command: Vec<OsString> = vec![step.into(), "run".into()];
        if number >= 3 {
            command.extend(["--rootfs".into(), self.place.rootfs().into()]);
        }
        for layer in lower {
            command.extend(["--lower".into(), layer.clone()]);
        }
        command.extend(["--".into(), self.command_path(number, program)]);
        command
    }

    /// Steps 1 and 2 have no root of their own: they see the host's files.
    fn command_path(&self, number: usize, program: &str) -> OsString {
        let path = Path::new("bin").join(program);
        match number {
            1 | 2 => self.place.rootfs().join(path).into(),
            _ => Path::new("/").join(path).into(),
        }
    }
}
