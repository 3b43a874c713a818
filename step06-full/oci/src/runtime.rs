//! The runtime itself, as a verb needs it.

use std::path::PathBuf;

/// What a verb is told besides its own options.
pub(crate) struct Runtime {
    /// Where states are kept.
    pub(crate) root: PathBuf,
    /// Cgroups are systemd's business: `--systemd-cgroup`.
    pub(crate) systemd: bool,
}
