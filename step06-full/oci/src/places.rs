//! `process.execCPUAffinity` and `linux.memoryPolicy`: which of the machine's
//! processors a process runs on, and which of its memory it gets.

use anyhow::{Context, bail, ensure};
use common::sys;
use serde_json::{Value, json};

use crate::config::{Linux, linux::MemoryPolicy, process::Affinity};

/// By the names of the specification, which are those of <linux/mempolicy.h>.
const MODES: [(&str, i32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// From the same file.
const FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// How many processors, or nodes, a list may name: as many as the kernel's
/// largest configuration has.
const MOST: usize = 8192;

impl Affinity {
    /// Looks at what can be judged outside.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        mask(&self.initial).context("process.execCPUAffinity.initial")?;
        mask(&self.later).context("process.execCPUAffinity.final")?;
        Ok(())
    }

    /// For this process, before it is in the container's cgroup.
    pub(crate) fn begin(&self) -> anyhow::Result<()> {
        run_on(&self.initial).context("process.execCPUAffinity.initial")
    }

    /// For this process, when it is there.
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        run_on(&self.later).context("process.execCPUAffinity.final")
    }
}

fn run_on(list: &str) -> anyhow::Result<()> {
    match list {
        "" => Ok(()),
        list => Ok(sys::sched_setaffinity(&mask(list)?)?),
    }
}

/// Sets what the file says of it for this process, and for those that it will
/// create.
pub(crate) fn set_memory_policy(linux: &Linux) -> anyhow::Result<()> {
    let Some(policy) = &linux.memory_policy else {
        return Ok(());
    };
    sys::set_mempolicy(policy.mode()?, &mask(&policy.nodes)?)
        .context("setting linux.memoryPolicy")
}

impl MemoryPolicy {
    /// Looks at what can be judged outside.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.mode()?;
        mask(&self.nodes).context("linux.memoryPolicy.nodes")?;
        Ok(())
    }

    fn mode(&self) -> anyhow::Result<i32> {
        let mut mode = find(&MODES, &self.mode)?;
        for flag in &self.flags {
            mode |= find(&FLAGS, flag)?;
        }
        Ok(mode)
    }
}

/// For `features`: the names of modes and flags.
pub(crate) fn features() -> Value {
    json!({
        "modes": MODES.map(|(name, _)| name),
        "flags": FLAGS.map(|(name, _)| name),
    })
}

fn find(table: &[(&str, i32)], name: &str) -> anyhow::Result<i32> {
    match table.iter().find(|(it, _)| *it == name) {
        Some((_, number)) => Ok(*number),
        None => bail!("linux.memoryPolicy: there is no {name:?}"),
    }
}

/// A list like `0-3,7`, as bits.
fn mask(list: &str) -> anyhow::Result<Vec<u64>> {
    let mut mask = vec![0_u64; 1];
    for part in list.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let number: usize =
                text.parse().with_context(|| format!("{list:?}"))?;
            ensure!(number < MOST, "{number} in {list:?} is too large");
            Ok(number)
        };
        let (first, last) = (number(first)?, number(last)?);
        ensure!(first <= last, "{part:?} in {list:?} ends before it begins");
        mask.resize(mask.len().max(last / 64 + 1), 0);
        (first..=last).for_each(|bit| mask[bit / 64] |= 1 << (bit % 64));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_mask() {
        for (list, bits) in [
            ("", vec![0]),
            ("0", vec![1]),
            ("0-2,5", vec![0b10_0111]),
            ("1, 64", vec![2, 1]),
        ] {
            assert_eq!(mask(list).expect("it is one"), bits, "{list}");
        }
        for bad in ["a", "-", "1-", "-1", "3-1", "0-9876543210", "8192"] {
            mask(bad).expect_err(bad);
        }
    }
}
