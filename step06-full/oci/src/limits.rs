//! The limits of a process, `process.rlimits`. See getrlimit(2).

use anyhow::{Context, bail, ensure};
use common::sys;
use nix::sys::resource::Resource;

use crate::config::process::Rlimit;

/// By the names of the man page.
const RESOURCES: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::RLIMIT_AS),
    ("RLIMIT_CORE", Resource::RLIMIT_CORE),
    ("RLIMIT_CPU", Resource::RLIMIT_CPU),
    ("RLIMIT_DATA", Resource::RLIMIT_DATA),
    ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", Resource::RLIMIT_NICE),
    ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
    ("RLIMIT_RSS", Resource::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", Resource::RLIMIT_STACK),
];

/// The limit of that name.
///
/// # Errors
/// There is none: the specification wants an error, as it could not be set.
pub(crate) fn resource(name: &str) -> anyhow::Result<Resource> {
    let Some((_, resource)) = RESOURCES.iter().find(|(it, _)| *it == name)
    else {
        bail!("process.rlimits: there is no limit {name:?}");
    };
    Ok(*resource)
}

/// Sets them all, for this process. Before the ids are changed: to raise a hard
/// limit takes CAP_SYS_RESOURCE.
pub(crate) fn set(limits: &[Rlimit]) -> anyhow::Result<()> {
    for limit in limits {
        let (soft, hard) = (limit.soft, limit.hard);
        ensure!(soft <= hard, "{}: {soft} is more than {hard}", limit.kind);
        sys::setrlimit(resource(&limit.kind)?, soft, hard)
            .context("setting a limit of the process")?;
    }
    Ok(())
}
