//! The five sets of capabilities, which the file lists by names. See
//! capabilities(7).

use anyhow::{Context, anyhow, bail};
use common::sys;
use step06_full::privileges;

use crate::{config::Capabilities, log};

/// In the order of their numbers. See linux/capability.h.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The capability that installs a filter of system calls without
/// `no_new_privs`.
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Their names, for `features`.
pub(crate) fn names() -> &'static [&'static str] {
    &NAMES
}

/// The five sets, a bit for each number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sets {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

impl Sets {
    /// Those of the file.
    ///
    /// # Errors
    /// There is no capability of such a name, and so nobody knows what the
    /// container was to have.
    pub(crate) fn of(sets: &Capabilities) -> anyhow::Result<Sets> {
        let permitted = set(&sets.permitted)?;
        let inheritable = set(&sets.inheritable)?;
        let ambient = set(&sets.ambient)?;
        // No kernel lets a process have others in its ambient set. buildah asks
        // for them, so they are told about, and not an error.
        let possible = ambient & permitted & inheritable;
        if ambient != possible {
            log::warning(&anyhow!(
                "ambient capabilities that are not both permitted and \
                 inheritable are left out"
            ));
        }
        Ok(Sets {
            bounding: set(&sets.bounding)?,
            effective: set(&sets.effective)?,
            permitted,
            inheritable,
            ambient: possible,
        })
    }

    /// Reduces what an exec can give. Needs CAP_SETPCAP, so before the ids are
    /// changed.
    pub(crate) fn bound(&self) -> anyhow::Result<()> {
        let numbers = (0..64).filter(|it| self.bounding & (1 << it) != 0);
        let kept: Vec<u32> = numbers.collect();
        privileges::bound(&kept)
            .context("reducing the bounding set of capabilities")
    }

    /// For the time until the exec: what is permitted later, and what is needed
    /// to install a filter.
    pub(crate) fn hold(&self) -> anyhow::Result<()> {
        let sets = sys::Capabilities {
            effective: CAP_SYS_ADMIN,
            permitted: self.permitted | CAP_SYS_ADMIN,
            inheritable: self.inheritable,
        };
        sys::capset(&sets).context("reducing the capabilities")
    }

    /// What the process begins with. The last step before the exec.
    pub(crate) fn set(&self) -> anyhow::Result<()> {
        let sets = sys::Capabilities {
            effective: self.effective,
            permitted: self.permitted,
            inheritable: self.inheritable,
        };
        sys::capset(&sets).context("setting the capabilities")?;
        for number in (0..64).filter(|it| self.ambient & (1 << it) != 0) {
            sys::prctl_cap_ambient_raise(number)
                .context("setting the ambient capabilities")?;
        }
        Ok(())
    }
}

fn set(names: &[String]) -> anyhow::Result<u64> {
    let mut set = 0;
    for name in names {
        let Some(number) = NAMES.iter().position(|it| it == name) else {
            bail!("there is no capability {name:?}");
        };
        set |= 1 << number;
    }
    Ok(set)
}
