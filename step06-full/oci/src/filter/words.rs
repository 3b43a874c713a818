//! The words of a profile: actions, architectures and flags.

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use super::{arguments::OPERATORS, names::Architecture};

/// The actions, and what the kernel calls them. The first is an old name of the
/// second.
const ACTIONS: [(&str, u32); 8] = [
    ("SCMP_ACT_KILL", libc::SECCOMP_RET_KILL_THREAD),
    ("SCMP_ACT_KILL_THREAD", libc::SECCOMP_RET_KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", libc::SECCOMP_RET_KILL_PROCESS),
    ("SCMP_ACT_TRAP", libc::SECCOMP_RET_TRAP),
    ("SCMP_ACT_ERRNO", libc::SECCOMP_RET_ERRNO),
    ("SCMP_ACT_TRACE", libc::SECCOMP_RET_TRACE),
    ("SCMP_ACT_ALLOW", libc::SECCOMP_RET_ALLOW),
    ("SCMP_ACT_LOG", libc::SECCOMP_RET_LOG),
];

/// The flags, and their bits. See seccomp(2).
const FLAGS: [(&str, libc::c_ulong); 3] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    (
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    ),
];

/// The greatest errno: `MAX_ERRNO` in `<linux/err.h>`. The kernel would take it
/// in place of a greater one.
const MAX_ERRNO: u32 = 4095;

/// What the filter is to answer for this action.
pub(super) fn action(name: &str, errno: Option<u32>) -> anyhow::Result<u32> {
    if name == "SCMP_ACT_NOTIFY" {
        bail!("SCMP_ACT_NOTIFY is not supported: nobody is asked");
    }
    let known = ACTIONS.iter().find(|(it, _)| *it == name);
    let Some((_, answer)) = known else {
        bail!("there is no action {name:?}");
    };
    let takes_errno =
        [libc::SECCOMP_RET_ERRNO, libc::SECCOMP_RET_TRACE].contains(answer);
    match errno {
        Some(_) if !takes_errno => {
            bail!("{name} has no errno, and one is given")
        }
        _ if !takes_errno => Ok(*answer),
        errno => {
            let errno = errno.unwrap_or(libc::EPERM.unsigned_abs());
            ensure!(errno <= MAX_ERRNO, "there is no errno {errno}");
            Ok(answer | errno)
        }
    }
}

/// The answer that the call fails with `errno`.
pub(super) fn errno(errno: u32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno
}

/// The machine's own architecture, and of the others that are listed those
/// whose calls can come here.
pub(super) fn architectures(
    names: &[String],
) -> anyhow::Result<Vec<Architecture>> {
    let mut listed = vec![Architecture::OWN];
    for name in names {
        let here = Architecture::of_this_machine();
        let known = here.iter().find(|it| it.name() == name);
        match known {
            Some(it) if listed.contains(it) => {}
            Some(it) => listed.push(*it),
            None if ELSEWHERE.contains(&name.as_str()) => {}
            None => bail!(
                "linux.seccomp.architectures: there is no architecture {name:?}"
            ),
        }
    }
    Ok(listed)
}

/// The architectures of the specification. A profile may list them all: it is
/// written for many machines, and calls of another one never come.
const ELSEWHERE: [&str; 22] = [
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
];

/// The bits of the flags.
pub(super) fn flags(names: &[String]) -> anyhow::Result<u32> {
    let mut all = 0;
    for name in names {
        let known = FLAGS.iter().find(|(it, _)| it == name);
        let Some((_, bit)) = known else {
            bail!("linux.seccomp.flags: {name:?} is not supported");
        };
        all |= u32::try_from(*bit).expect("flags are few");
    }
    Ok(all)
}

/// For `features`: the names of actions, operators, architectures and flags.
pub(crate) fn features() -> Value {
    let architectures = Architecture::of_this_machine();
    let names = |table: &[(&'static str, u32)]| -> Vec<&str> {
        table.iter().map(|(name, _)| *name).collect()
    };
    let flags: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
    let architectures: Vec<&str> =
        architectures.iter().map(|it| it.name()).collect();
    json!({
        "enabled": true,
        "actions": names(&ACTIONS),
        "operators": OPERATORS,
        "archs": architectures,
        "knownFlags": flags,
        "supportedFlags": flags,
    })
}
