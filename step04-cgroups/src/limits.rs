//! The limits: the options on the command line, their defaults, and what the
//! kernel wants to know.

use clap::Args;

mod parse;

use parse::{MIB, parse_cpus, parse_memory, parse_pids, quota};

/// How much of the machine the container may use.
///
/// A field is `None` when the option was not given. Its default applies then,
/// but as a wish: where it can't be enforced, the container runs without.
#[derive(Args, Debug, Clone)]
pub struct Limits {
    /// Memory for all processes together, swap included: bytes, or a number
    /// with k, m or g [default: 64m]
    #[arg(short, long, value_name = "BYTES", value_parser = parse_memory)]
    #[arg(allow_negative_numbers = true)]
    pub memory: Option<u64>,

    /// Processor time for all processes together, in CPUs: 0.5 is half of one
    /// [default: 0.5]
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    #[arg(allow_negative_numbers = true)]
    pub cpus: Option<f64>,

    /// Number of processes and threads, the container's init included
    /// [default: 64]
    #[arg(long, value_name = "NUMBER", value_parser = parse_pids)]
    #[arg(allow_negative_numbers = true)]
    pub pids_limit: Option<u64>,
}

/// One limit, in the kernel's units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    Memory {
        bytes: u64,
    },
    /// Microseconds of processor time in each [`PERIOD`].
    Cpu {
        quota: u64,
    },
    Pids {
        max: u64,
    },
}

/// The period of the CPU limit in microseconds: the kernel's default. A
/// container that has used up its quota sleeps until the next period begins.
pub(crate) const PERIOD: u64 = 100_000;

impl Limits {
    /// The three limits, each with whether it was asked for explicitly.
    pub(crate) fn list(&self) -> [(Limit, bool); 3] {
        let bytes = self.memory.unwrap_or(64 * MIB);
        let quota = quota(self.cpus.unwrap_or(0.5));
        let max = self.pids_limit.unwrap_or(64);
        [
            (Limit::Memory { bytes }, self.memory.is_some()),
            (Limit::Cpu { quota }, self.cpus.is_some()),
            (Limit::Pids { max }, self.pids_limit.is_some()),
        ]
    }
}

impl Limit {
    /// The kernel's name of the controller that enforces the limit.
    pub(crate) fn controller(self) -> &'static str {
        match self {
            Limit::Memory { .. } => "memory",
            Limit::Cpu { .. } => "cpu",
            Limit::Pids { .. } => "pids",
        }
    }

    /// What is limited, as people say it.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Limit::Memory { .. } => "memory",
            Limit::Cpu { .. } => "cpu",
            Limit::Pids { .. } => "processes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_not_asked_for() {
        let limits = Limits {
            memory: None,
            cpus: None,
            pids_limit: Some(5),
        };
        assert_eq!(
            limits.list(),
            [
                (Limit::Memory { bytes: 64 * MIB }, false),
                (Limit::Cpu { quota: 50_000 }, false),
                (Limit::Pids { max: 5 }, true),
            ]
        );
    }
}
