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

/// See sched_setaffinity(2), for the calling thread: it runs on these processors
/// only, those whose bits are set in `mask`.
///
/// # Errors
/// `EINVAL` if this process may have none of them.
#[track_caller]
pub fn sched_setaffinity(mask: &[u64]) -> Result<()> {
    let (this, length) = (0, size_of_val(mask));
    // SAFETY: the kernel reads as many bytes as there are.
    let done = Errno::result(unsafe {
        libc::syscall(libc::SYS_sched_setaffinity, this, length, mask.as_ptr())
    });
    let bits = bits(mask);
    finish(done.map(drop), || {
        format!("sched_setaffinity(0, {length}, [{bits}])")
    })
}

/// See set_mempolicy(2), for the calling thread: from which nodes of the
/// machine's memory it gets some, those whose bits are set in `mask`. `mode` has
/// its flags in it.
///
/// # Errors
/// `EINVAL` for a mode that does not go with these nodes; `ENOSYS` if the kernel
/// knows of one node only.
#[track_caller]
pub fn set_mempolicy(mode: c_int, mask: &[u64]) -> Result<()> {
    // The kernel takes one off. See get_nodes in its mm/mempolicy.c.
    let number = 8 * size_of_val(mask) + 1;
    // SAFETY: the kernel reads as many bits as there are.
    let done = Errno::result(unsafe {
        libc::syscall(libc::SYS_set_mempolicy, mode, mask.as_ptr(), number)
    });
    let bits = bits(mask);
    finish(done.map(drop), || {
        format!("set_mempolicy({mode:#x}, [{bits}], {number})")
    })
}

/// The numbers of the bits that are set.
fn bits(mask: &[u64]) -> String {
    let words = mask.iter().enumerate();
    let bits = words.flat_map(|(at, word)| {
        let set = (0..64).filter(move |bit| word >> bit & 1 == 1);
        set.map(move |bit| (64 * at + bit).to_string())
    });
    bits.collect::<Vec<_>>().join(" ")
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

    #[test]
    fn processors_and_nodes_that_there_are_not_are_told() {
        let error = sched_setaffinity(&[0, 0]).expect_err("no processor");
        let text = error.to_string();
        assert!(text.starts_with("sched_setaffinity(0, 16, [])"), "{text}");
        let error = set_mempolicy(99, &[0b101, 1]).expect_err("no such mode");
        let text = error.to_string();
        assert!(
            text.starts_with("set_mempolicy(0x63, [0 2 64], 129)"),
            "{text}"
        );
    }
}
