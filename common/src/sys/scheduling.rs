//! How the kernel shares processors and disks among processes.

use libc::{c_int, sched_attr};
use nix::errno::Errno;

use super::{Result, call, finish};

/// See sched_setattr(2), for the calling thread.
///
/// # Errors
/// `EINVAL` for a policy or numbers that the kernel doesn't know; `EPERM` for
/// more than this process may have.
#[track_caller]
pub fn sched_setattr(attr: &sched_attr) -> Result<()> {
    let (this, flags) = (0, 0);
    // SAFETY: the kernel reads one structure, whose length is in it.
    let done = Errno::result(unsafe {
        libc::syscall(libc::SYS_sched_setattr, this, attr, flags)
    });
    finish(done.map(drop), || {
        let (policy, nice) = (attr.sched_policy, attr.sched_nice);
        let priority = attr.sched_priority;
        format!(
            "sched_setattr(0, {{sched_policy={policy}, sched_nice={nice}, \
             sched_priority={priority}, …}}, 0)"
        )
    })
}

/// From <linux/sched/types.h>: what came later has no part in it.
const SCHED_ATTR_SIZE_VER0: u32 = 48;

/// A structure with nothing in it but its length.
#[must_use]
pub fn sched_attr() -> sched_attr {
    sched_attr {
        size: SCHED_ATTR_SIZE_VER0,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    }
}

/// From <linux/ioprio.h>: who is a process.
const IOPRIO_WHO_PROCESS: c_int = 1;

/// See ioprio_set(2), for the calling thread: `ioprio` is the class, shifted by
/// 13 bits, with the level in it.
#[track_caller]
pub fn ioprio_set(ioprio: c_int) -> Result<()> {
    let (which, this) = (IOPRIO_WHO_PROCESS, 0);
    // SAFETY: the call takes numbers.
    let done = Errno::result(unsafe {
        libc::syscall(libc::SYS_ioprio_set, which, this, ioprio)
    });
    call!(ioprio_set(which, this, ioprio), done.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_policy_is_told() {
        let attr = sched_attr {
            sched_policy: 77,
            ..sched_attr()
        };
        let error = sched_setattr(&attr).expect_err("no such policy");
        let text = error.to_string();
        assert!(
            text.starts_with("sched_setattr(0, {sched_policy=77"),
            "{text}"
        );
        let error = ioprio_set(7 << 13).expect_err("no such class");
        assert_eq!(
            error.to_string().split(':').next(),
            Some("ioprio_set(1, 0, 57344)")
        );
    }
}
