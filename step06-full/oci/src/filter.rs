//! The profile of `linux.seccomp`, as a program for the kernel's BPF machine.
//!
//! The profile has names; the kernel has numbers, and other ones on each
//! architecture. So there is a table of numbers for each architecture whose
//! calls can come, and the program looks at the architecture first. Then it
//! searches the number, and where a rule is about arguments, compares those. The
//! rules mean what they mean to libseccomp, by which other runtimes translate
//! them. See seccomp(2) and seccomp_rule_add(3).

use std::{collections::BTreeMap, mem::offset_of};

use anyhow::{Context, ensure};
use libc::{seccomp_data, sock_filter};
use step06_full::seccomp::{Label, Program};

use crate::config::seccomp::{Comparison, Rule, Seccomp};

mod arguments;

mod names;

mod words;

#[cfg(test)]
mod tests;

use names::Architecture;

pub(crate) use words::features;

/// A filter of system calls, for [`step06_full::seccomp::install`].
pub(crate) struct Filter {
    /// The program.
    pub(crate) instructions: Vec<sock_filter>,
    /// `SECCOMP_FILTER_FLAG_…`.
    pub(crate) flags: u32,
}

/// Translates the profile.
///
/// # Errors
/// It says something that this runtime can't do.
pub(crate) fn compile(profile: &Seccomp) -> anyhow::Result<Filter> {
    ensure!(
        profile.listener_path.is_empty(),
        "linux.seccomp.listenerPath: nobody is asked about system calls \
         (SCMP_ACT_NOTIFY is not supported)"
    );
    let default =
        words::action(&profile.default_action, profile.default_errno_ret)
            .context("linux.seccomp.defaultAction")?;
    let rules = profile.syscalls.iter().enumerate();
    let rules = rules
        .map(|(index, rule)| {
            Meaning::of(rule)
                .with_context(|| format!("linux.seccomp.syscalls[{index}]"))
        })
        .collect::<anyhow::Result<Vec<Meaning>>>()?;
    let architectures = words::architectures(&profile.architectures)?;
    let instructions = program(default, &rules, &architectures);
    ensure!(
        instructions.len() <= MOST,
        "linux.seccomp: the kernel takes {MOST} instructions, and this profile \
         needs {}",
        instructions.len()
    );
    let flags = words::flags(&profile.flags)?;
    Ok(Filter {
        instructions,
        flags,
    })
}

/// `BPF_MAXINSNS` in `<linux/bpf_common.h>`.
const MOST: usize = 4096;

/// A rule whose words are understood.
struct Meaning<'a> {
    names: &'a [String],
    /// `SECCOMP_RET_…`, with its errno.
    answer: u32,
    /// It holds if one of these holds; of each, all comparisons must. The rule
    /// that asks for nothing has one which is empty.
    conditions: Vec<Vec<&'a Comparison>>,
}

impl Meaning<'_> {
    fn of(rule: &Rule) -> anyhow::Result<Meaning<'_>> {
        ensure!(!rule.names.is_empty(), "there are no names");
        for comparison in &rule.args {
            arguments::check(comparison)?;
        }
        Ok(Meaning {
            names: &rule.names,
            answer: words::action(&rule.action, rule.errno_ret)?,
            conditions: conditions(&rule.args),
        })
    }
}

/// All of the comparisons must hold. But a rule that asks twice about one
/// argument is meant as a list: one of them must hold. The specification does
/// not say so; runc began it, and there are profiles that rely on it.
fn conditions(comparisons: &[Comparison]) -> Vec<Vec<&Comparison>> {
    let asks = |index| comparisons.iter().filter(move |it| it.index == index);
    let twice = (0..arguments::COUNT).any(|index| asks(index).count() > 1);
    match twice {
        true => comparisons.iter().map(|it| vec![it]).collect(),
        false => vec![comparisons.iter().collect()],
    }
}

/// Written from the end: for each architecture what is to be done with a number,
/// before that which one it is. A call of any other is killed, as libseccomp
/// does it.
fn program(
    default: u32,
    rules: &[Meaning],
    architectures: &[Architecture],
) -> Vec<sock_filter> {
    let mut program = Program::default();
    let mut next = program.answer(libc::SECCOMP_RET_KILL_THREAD);
    let other = next;
    // x32 has the number of x86-64 for an architecture: both are one table.
    let mut machines: BTreeMap<u32, Vec<Architecture>> = BTreeMap::new();
    for it in architectures {
        machines.entry(it.audit()).or_default().push(*it);
    }
    for (audit, architectures) in machines {
        let mut answers = BTreeMap::from([(0, other)]);
        for it in architectures {
            table(&mut program, it, default, rules, other, &mut answers);
        }
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.dedup_by_key(|(_, answer)| *answer);
        let call = program.search(&answers);
        let call = program.load(offset_of!(seccomp_data, nr), call);
        next = program.branch(libc::BPF_JEQ, audit, call, next);
    }
    program.load(offset_of!(seccomp_data, arch), next);
    program.finish()
}

/// Enters into `answers` what is answered to which numbers of `architecture`:
/// each answer holds from its number up to the next one.
fn table(
    program: &mut Program,
    architecture: Architecture,
    default: u32,
    rules: &[Meaning],
    other: Label,
    answers: &mut BTreeMap<u32, Label>,
) {
    let mut same = BTreeMap::new();
    let mut ending = |program: &mut Program, value| {
        *same.entry(value).or_insert_with(|| program.answer(value))
    };
    let numbers = architecture.numbers();
    let unnamed = ending(program, default);
    answers.insert(numbers.start, unnamed);
    let mut newest = numbers.start;
    for (number, rules) in by_number(architecture, default, rules) {
        let label = chain(program, &rules, unnamed, &mut ending);
        answers.insert(number, label);
        answers.entry(number + 1).or_insert(unnamed);
        newest = number;
    }
    if is_errno(default) {
        let unknown = words::errno(libc::ENOSYS.unsigned_abs());
        let unknown = ending(program, unknown);
        answers.insert(newest + 1, unknown);
    }
    if numbers.end < u32::MAX {
        answers.insert(numbers.end, other);
    }
}

/// Whether the call fails, and the process goes on.
///
/// Then the calls that are newer than the newest one of the profile get the
/// kernel's own answer where it lacks a call, `ENOSYS`: whoever wrote the profile
/// didn't know them, and a C library that hears `EPERM` gives up where it would
/// have taken an older one. runc does so, too.
fn is_errno(answer: u32) -> bool {
    answer & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO
}

/// The rules for each number, in their order. A rule that says what is answered
/// anyway is left out, and one without a condition stands for all others, as
/// with libseccomp.
fn by_number<'a>(
    architecture: Architecture,
    default: u32,
    rules: &'a [Meaning],
) -> BTreeMap<u32, Vec<&'a Meaning<'a>>> {
    let mut sorted: BTreeMap<u32, Vec<&Meaning>> = BTreeMap::new();
    for rule in rules {
        if rule.answer == default {
            continue;
        }
        for name in rule.names {
            // There are names of other architectures, and of the future.
            if let Some(number) = architecture.number(name) {
                sorted.entry(number).or_default().push(rule);
            }
        }
    }
    for rules in sorted.values_mut() {
        if let Some(all) = rules.iter().find(|it| it.conditions[0].is_empty()) {
            *rules = vec![*all];
        }
    }
    sorted
}

/// Goes through the rules of one call: the first that holds answers.
fn chain(
    program: &mut Program,
    rules: &[&Meaning],
    otherwise: Label,
    ending: &mut impl FnMut(&mut Program, u32) -> Label,
) -> Label {
    let mut next = otherwise;
    for rule in rules.iter().rev() {
        let answer = ending(program, rule.answer);
        for condition in rule.conditions.iter().rev() {
            next = arguments::all(program, condition, answer, next);
        }
    }
    next
}
