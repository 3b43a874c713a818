//! Limits: is there a cgroup in which this user may set them?

use anyhow::anyhow;
use common::{
    NewProcess,
    host::cgroups::{Layout, Version},
};
use step04_cgroups::{Cgroup, Limits};

use super::{attempt::in_a_child, container};

/// No limit is asked for: the defaults are set, as far as they can be.
pub(super) const NONE: Limits = Limits {
    memory: None,
    cpus: None,
    pids_limit: None,
};

/// Whether a container can have these limits.
///
/// Runs in the process that was started itself. Where step 4 has to make place
/// on version 2, it moves its own process out of the way, and no other: with a
/// child there would be two.
pub(super) fn limit(limits: &Limits) -> anyhow::Result<()> {
    let cgroup = Cgroup::create(limits)?;
    in_a_child(|| {
        let process = NewProcess {
            cgroup: cgroup.born_in(),
            ..NewProcess::default()
        };
        container::run(&process, || cgroup.join(), |_| Ok(()))
    })?;
    Ok(())
}

/// The versions of the trees that have our three controllers, in a few words.
pub(super) fn layout() -> String {
    let version = |controller| {
        let layout = Layout::read().map_err(|_| anyhow!("no /proc"))?;
        anyhow::Ok(match layout.find(controller)?.version {
            Version::V1 => 1,
            Version::V2 => 2,
        })
    };
    let versions = ["memory", "cpu", "pids"].map(version);
    match versions {
        [Ok(1), Ok(1), Ok(1)] => "cgroup version 1".into(),
        [Ok(2), Ok(2), Ok(2)] => "cgroup version 2".into(),
        [Err(_), Err(_), Err(_)] => "no cgroups in sight".into(),
        _ => "cgroup versions 1 and 2".into(),
    }
}
