//! `linux.seccomp`: which system calls are allowed.

use serde::{Deserialize, Serialize};

/// `linux.seccomp`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Seccomp {
    /// What is answered to a call that no rule is about: `SCMP_ACT_…`.
    pub(crate) default_action: String,
    /// The errno of that answer, if it has one; `EPERM` otherwise.
    pub(crate) default_errno_ret: Option<u32>,
    /// The machines whose calls are let in, beside this one's own:
    /// `SCMP_ARCH_…`.
    pub(crate) architectures: Vec<String>,
    /// How it is installed: `SECCOMP_FILTER_FLAG_…`.
    pub(crate) flags: Vec<String>,
    /// Where the descriptor for `SCMP_ACT_NOTIFY` would go.
    pub(crate) listener_path: String,
    /// What would go along with it.
    pub(crate) listener_metadata: String,
    /// The rules.
    pub(crate) syscalls: Vec<Rule>,
}

/// An entry of `linux.seccomp.syscalls`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rule {
    /// The calls that it is about.
    pub(crate) names: Vec<String>,
    /// What is answered to them.
    pub(crate) action: String,
    /// The errno of that answer, if it has one; `EPERM` otherwise.
    pub(crate) errno_ret: Option<u32>,
    /// What the arguments of the call must be. Without: whatever they are.
    pub(crate) args: Vec<Comparison>,
}

/// An entry of `args`: an argument, and what it is compared with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Comparison {
    /// Which argument, from 0 to 5.
    pub(crate) index: usize,
    /// With what: the mask, for `SCMP_CMP_MASKED_EQ`.
    pub(crate) value: u64,
    /// What the masked argument must be, for `SCMP_CMP_MASKED_EQ`.
    pub(crate) value_two: u64,
    /// How: `SCMP_CMP_…`.
    pub(crate) op: String,
}
