//! Comparing arguments: 64 bits, on a machine whose words have 32.

use std::mem::{offset_of, size_of};

use anyhow::{bail, ensure};
use libc::seccomp_data;
use step06_full::seccomp::{Label, Program};

use crate::config::seccomp::Comparison;

/// How many arguments a system call has at most.
pub(super) const COUNT: usize = 6;

/// Whether there is such a comparison.
pub(super) fn check(comparison: &Comparison) -> anyhow::Result<()> {
    let Comparison { index, op, .. } = comparison;
    ensure!(
        *index < COUNT,
        "there is no argument {index}: they are numbered from 0 to 5"
    );
    if !OPERATORS.contains(&op.as_str()) {
        bail!("there is no operator {op:?}");
    }
    Ok(())
}

/// The operators of libseccomp. See seccomp_rule_add(3).
pub(super) const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

/// Goes to `yes` if all of the comparisons hold, otherwise to `no`.
pub(super) fn all(
    program: &mut Program,
    comparisons: &[&Comparison],
    yes: Label,
    no: Label,
) -> Label {
    comparisons
        .iter()
        .rev()
        .fold(yes, |yes, it| compare(program, it, yes, no))
}

/// Goes to `yes` if the comparison holds, otherwise to `no`. Three of the
/// operators are the opposites of three others.
fn compare(
    program: &mut Program,
    comparison: &Comparison,
    yes: Label,
    no: Label,
) -> Label {
    let Comparison {
        index,
        value,
        value_two,
        op,
    } = comparison;
    let at = Halves::of(*index);
    match op.as_str() {
        "SCMP_CMP_GT" => at.order(program, libc::BPF_JGT, *value, yes, no),
        "SCMP_CMP_LE" => at.order(program, libc::BPF_JGT, *value, no, yes),
        "SCMP_CMP_GE" => at.order(program, libc::BPF_JGE, *value, yes, no),
        "SCMP_CMP_LT" => at.order(program, libc::BPF_JGE, *value, no, yes),
        "SCMP_CMP_NE" => at.equal(program, u64::MAX, *value, no, yes),
        "SCMP_CMP_EQ" => at.equal(program, u64::MAX, *value, yes, no),
        _ => at.equal(program, *value, *value_two, yes, no),
    }
}

/// Where an argument is: its lower half comes first on both machines.
struct Halves {
    lower: usize,
    upper: usize,
}

impl Halves {
    fn of(index: usize) -> Halves {
        let lower = offset_of!(seccomp_data, args) + index * size_of::<u64>();
        let upper = lower + size_of::<u32>();
        Halves { lower, upper }
    }

    /// Goes to `yes` if the argument, as far as it is in `mask`, is `value`: if
    /// both halves are.
    fn equal(
        &self,
        program: &mut Program,
        mask: u64,
        value: u64,
        yes: Label,
        no: Label,
    ) -> Label {
        let mut half = |at, mask, value, yes| {
            let mut next = program.branch(libc::BPF_JEQ, value, yes, no);
            if mask != u32::MAX {
                next = program.mask(mask, next);
            }
            program.load(at, next)
        };
        let yes = half(self.lower, lower(mask), lower(value), yes);
        half(self.upper, upper(mask), upper(value), yes)
    }

    /// Goes to `yes` if the argument is greater than `value`, or not smaller:
    /// the lower halves decide when the upper ones are equal.
    fn order(
        &self,
        program: &mut Program,
        comparison: u32,
        value: u64,
        yes: Label,
        no: Label,
    ) -> Label {
        let low = program.branch(comparison, lower(value), yes, no);
        let low = program.load(self.lower, low);
        let equal = program.branch(libc::BPF_JEQ, upper(value), low, no);
        let high = program.branch(libc::BPF_JGT, upper(value), yes, equal);
        program.load(self.upper, high)
    }
}

fn upper(value: u64) -> u32 {
    lower(value >> 32)
}

#[expect(clippy::cast_possible_truncation, reason = "it is the lower half")]
fn lower(value: u64) -> u32 {
    value as u32
}
