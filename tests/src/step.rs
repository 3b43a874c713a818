//! The six steps, by name, and the parts of the last one.

use ground::{PARTS, STEPS};

use crate::{Finished, Run, programs};

/// One of the six programs, or of the parts of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// 1 to 6.
    pub number: usize,
    /// The name of its program and, unless it is a part, of its package.
    pub name: &'static str,
}

/// Step 1: a host name of its own.
pub const UTS: Step = Step::number(1);
/// Step 2: process numbers of its own.
pub const PID: Step = Step::number(2);
/// Step 3: a file system of its own.
pub const MOUNT: Step = Step::number(3);
/// Step 4: limits.
pub const CGROUPS: Step = Step::number(4);
/// Step 5: layers.
pub const OVERLAY: Step = Step::number(5);
/// Step 6: all the rest.
pub const FULL: Step = Step::number(6);

/// All steps, in order.
pub const ALL: [Step; 6] = [UTS, PID, MOUNT, CGROUPS, OVERLAY, FULL];

/// The parts of step 6, in order.
pub const PARTS_OF_FULL: [Step; 5] = [
    Step::part(0),
    Step::part(1),
    Step::part(2),
    Step::part(3),
    Step::part(4),
];

impl Step {
    const fn number(number: usize) -> Step {
        Step {
            number,
            name: STEPS[number - 1],
        }
    }

    const fn part(index: usize) -> Step {
        Step {
            number: STEPS.len(),
            name: PARTS[index],
        }
    }

    /// `stepNN run`, still without options and command.
    pub fn run(self) -> Run {
        self.subcommand("run")
    }

    /// `stepNN NAME`: `probe`, for example.
    pub fn subcommand(self, name: &str) -> Run {
        Run::new(programs::path(self.name), name)
    }

    /// Runs a shell script in a container of this step, to its end.
    pub fn sh(self, script: &str) -> Finished {
        self.run().sh(script)
    }

    /// This step and all later ones.
    pub fn and_later(self) -> impl Iterator<Item = Step> {
        ALL.into_iter().filter(move |step| *step >= self)
    }
}
