//! The system calls that a container is refused, by reason.
//!
//! Together [`REFUSED`] and [`NO_SUCH_CALL`] are the complement of Docker's
//! default profile, for a container with Docker's default capabilities: a number
//! is in one of them, or Docker allows it, too. What we refuse beyond that is a
//! table of its own. `tests/data/docker-seccomp-allowed.txt` names the version
//! of the profile, and a test compares it with the filter, number by number.

use std::ops::RangeInclusive;

use libc::*;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "the numbers of the system calls are known for x86-64 and arm64"
);

/// Fails with `EPERM`.
pub(super) const REFUSED: &[c_long] = &[
    // Namespaces: the container has its own, and makes no others. (clone is
    // refused by its flags.)
    SYS_unshare,
    SYS_setns,
    // Mounts, the old interface and the new one: a mount hides files, and
    // uncovers those that were masked.
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    // The machine: it belongs to the host.
    SYS_reboot,
    SYS_kexec_load,
    KEXEC_FILE_LOAD,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_swapon,
    SYS_swapoff,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_acct,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_syslog,
    SYS_vhangup,
    // The container's names, which were set by its maker.
    SYS_sethostname,
    SYS_setdomainname,
    // Keys: a store in the kernel, with a history of holes, that user
    // namespaces divide only since Linux 5.3.
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    // Programs that run in the kernel, and rings of calls that a filter does
    // not see.
    SYS_bpf,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    // A view of the kernel or of the whole machine.
    SYS_perf_event_open,
    SYS_fanotify_init,
    SYS_lookup_dcookie,
    // Files by number, past every directory on the way: the classic escape
    // ("Shocker").
    SYS_open_by_handle_at,
    // Page faults handled by a program: they hold the kernel still in the
    // middle of a call, which makes races easy to win.
    SYS_userfaultfd,
    // The inside of other processes. (ptrace is allowed, as in Docker: since
    // Linux 4.8 it can't be used to get past a filter.)
    SYS_kcmp,
    SYS_pidfd_getfd,
    SYS_process_madvise,
    // The placement of memory on the machine's nodes.
    SYS_mbind,
    SYS_get_mempolicy,
    SYS_set_mempolicy,
    SYS_set_mempolicy_home_node,
    SYS_migrate_pages,
    SYS_move_pages,
    // The attributes of security modules.
    LSM_GET_SELF_ATTR,
    LSM_SET_SELF_ATTR,
    LSM_LIST_MODULES,
    // The ports of the hardware, and two calls that statfs and
    // /proc/filesystems have replaced.
    #[cfg(target_arch = "x86_64")]
    SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    SYS_sysfs,
];

/// Fails with `EPERM`, too, although Docker allows it: what few programs call,
/// and those have another way when it fails.
pub(super) const STRICTER_THAN_DOCKER: &[c_long] = &[
    // The memory of other processes, without so much as a stop in between.
    // Debuggers then take the slower way of ptrace(2).
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    // Pages of a program's own in a pipe: the call of CVE-2008-0600 and of
    // CVE-2020-29374. (splice and tee stay: cp and web servers use them.)
    SYS_vmsplice,
    // Memory that the kernel takes out of its own map, which slows the whole
    // machine. Libraries keep their keys elsewhere on older kernels.
    MEMFD_SECRET,
    // Segments from the time of 16 bits, with holes of their own
    // (CVE-2017-17053). Old programs in wine need them; those have 32 bits at
    // most, and are killed anyway.
    #[cfg(target_arch = "x86_64")]
    SYS_modify_ldt,
];

/// Fails with `ENOSYS`, as if the kernel did not have it.
///
/// The last range holds whatever a newer kernel adds, so that a new call is
/// refused until somebody has looked at it, and on x86-64 the second set of
/// calls with 32-bit pointers ("x32"), which starts at `1 << 30`.
#[cfg(target_arch = "x86_64")]
pub(super) const NO_SUCH_CALL: &[RangeInclusive<u32>] = &[
    // Gone from the kernel, or never there: uselib; _sysctl; create_module;
    // get_kernel_syms and query_module; nfsservctl, getpmsg, putpmsg,
    // afs_syscall, tuxcall and security; vserver.
    134..=134,
    156..=156,
    174..=174,
    177..=178,
    180..=185,
    236..=236,
    // Skipped, so that from 424 on the numbers are the same everywhere. (336
    // is uprobe since Linux 6.18. The kernel, which is the only one to call
    // it, lets it pass whatever a filter says.)
    336..=423,
    CLONE3,
    AFTER_REMOVEXATTRAT,
];

/// Fails with `ENOSYS`, as if the kernel did not have it.
///
/// The last range holds whatever a newer kernel adds, so that a new call is
/// refused until somebody has looked at it.
#[cfg(target_arch = "aarch64")]
pub(super) const NO_SUCH_CALL: &[RangeInclusive<u32>] = &[
    // nfsservctl, gone from the kernel.
    42..=42,
    // For calls of a single architecture; arm64 has none.
    244..=259,
    // Numbers that 32-bit architectures use, or nobody.
    295..=423,
    CLONE3,
    AFTER_REMOVEXATTRAT,
];

/// clone3(2) has its flags behind a pointer, where a filter can't see them.
/// C libraries then use clone(2).
const CLONE3: RangeInclusive<u32> = 435..=435;

/// The newest call that these tables know is removexattrat, of Linux 6.13: they
/// tell nothing apart from here on.
pub(super) const FIRST_UNKNOWN: u32 = 467;
const AFTER_REMOVEXATTRAT: RangeInclusive<u32> = FIRST_UNKNOWN..=u32::MAX;

// Calls that the libc crate has no name for, everywhere or with musl.
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: c_long = 320;
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: c_long = 294;
const LSM_GET_SELF_ATTR: c_long = 459;
const LSM_SET_SELF_ATTR: c_long = 460;
const LSM_LIST_MODULES: c_long = 461;
const MEMFD_SECRET: c_long = 447;
