//! What to do about the failures that readers meet: one table for all steps and
//! for the doctor.
//!
//! A row says which calls it is about, as errors print them, and with which
//! errno; some also under which circumstances, since an errno like `EPERM` has
//! many causes. The first row that fits is taken, so what needs a circumstance
//! comes before what is usual. It also names the page of the book to read on.
//!
//! The suite meets most rows on a real kernel (`tests/suite/refusals.rs`). Where
//! no kernel at hand can be made to refuse like that, a comment names the
//! source.

use nix::errno::Errno::{self, *};

use super::errno;
use crate::host::machine;

/// A row of the table.
pub struct Hint {
    /// How the failed call begins, or the context around it, as the error
    /// prints it: one of these. What is behind a `*` comes somewhere later.
    calls: &'static [&'static str],
    /// `None`: whatever the errno is.
    errno: Option<Errno>,
    when: fn() -> bool,
    /// What is behind it.
    pub cause: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// Where the book explains it: see [`page`].
    pub page: &'static str,
}

/// Pages of the book that explain failures, as paths in the workspace.
pub(crate) mod page {
    pub(crate) const LINUX: &str = "book/src/setting-up/linux.md";
    pub(crate) const CONTAINERS: &str = "book/src/setting-up/containers.md";
    pub(crate) const LAB_MACHINES: &str = "book/src/setting-up/lab-machines.md";
    pub(crate) const WSL: &str = "book/src/setting-up/wsl2.md";
    pub(crate) const STEP_1: &str = "book/src/step01-uts.md";
    pub(crate) const STEP_2: &str = "book/src/step02-pid.md";
    pub(crate) const STEP_3: &str = "book/src/step03-mount.md";
    pub(crate) const STEP_4: &str = "book/src/step04-cgroups.md";
    pub(crate) const STEP_5: &str = "book/src/step05-overlay.md";
    pub(crate) const STEP_6: &str = "book/src/step06-full.md";
    pub(crate) const USER: &str = "book/src/step06-full/user.md";
    pub(crate) const NAMESPACES: &str = "book/src/step06-full/namespaces.md";
    pub(crate) const DEVICES: &str = "book/src/step06-full/devices.md";
    pub(crate) const CAPABILITIES: &str =
        "book/src/step06-full/capabilities.md";
    pub(crate) const SECCOMP: &str = "book/src/step06-full/seccomp.md";
    pub(crate) const CGROUPS: &str = "book/src/cgroup-versions.md";
    pub(crate) const TROUBLESHOOTING: &str = "book/src/troubleshooting.md";
}

const fn hint(
    page: &'static str,
    calls: &'static [&'static str],
    errno: Option<Errno>,
    cause: &'static str,
    fix: &'static str,
) -> Hint {
    let when = always;
    Hint {
        calls,
        errno,
        when,
        cause,
        fix,
        page,
    }
}

const fn always() -> bool {
    true
}

impl Hint {
    /// The same, but only under this circumstance.
    const fn when(self, when: fn() -> bool) -> Hint {
        Hint { when, ..self }
    }
}

/// A user namespace is made by one call in steps 1 to 5, by another in step 6.
const NEW_USER_NAMESPACE: &[&str] = &[
    "unshare(CLONE_NEWUSER",
    "clone3(*CLONE_NEWUSER",
    "clone(*CLONE_NEWUSER",
];

/// The calls of ours that Docker's default profile refuses. See
/// profiles/seccomp/default_linux.go of github.com/moby/profiles.
const REFUSED_BY_DOCKER: &[&str] = &[
    "clone3(",
    "clone(",
    "keyctl(",
    "mount(",
    "open_tree(",
    "pivot_root(",
    "sethostname(",
    "umount2(",
    "unshare(",
];

const ANY_CALL: &[&str] = &[""];

/// The calls that a security module refuses where it forbids mounts.
const MOUNTS: &[&str] = &[
    "mount(",
    "umount2(",
    "pivot_root(",
    "open_tree(",
    "move_mount(",
];

/// The files that say which ids a user namespace has.
const ID_MAP: &[&str] = &["write(*_map>", "write(*/setgroups>"];

const NO_PROFILE: &str = "AppArmor lets no program without a profile have \
                          rights in a user namespace (Ubuntu 23.10 and later)";

const ALLOW_WITHOUT_PROFILE: &str = "run with sudo, or allow it until the next boot: sudo sysctl -w \
     kernel.apparmor_restrict_unprivileged_userns=0";

const CACHE_ELSEWHERE: &str = "name a root file system by --rootfs; or, as a \
                               plain user, another cache by XDG_CACHE_HOME";

/// The aim of the calls that make the default root file system.
const CACHE: &[&str] = &[super::PREPARING];

const HINTS: &[Hint] = &[
    // User namespaces. In a chroot and under a sysctl the errno is the same.
    hint(
        page::LINUX,
        NEW_USER_NAMESPACE,
        Some(EPERM),
        "this is a chroot, in which the kernel makes no user namespaces",
        "run it outside; steps 1 to 5 need none as root",
    )
    .when(machine::in_chroot),
    hint(
        page::LINUX,
        NEW_USER_NAMESPACE,
        Some(EPERM),
        "this kernel lets only root make user namespaces \
         (kernel.unprivileged_userns_clone is 0)",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1, or run as root",
    )
    .when(machine::only_root_makes_user_namespaces),
    hint(
        page::CONTAINERS,
        REFUSED_BY_DOCKER,
        Some(EPERM),
        "a filter of system calls refuses it, such as Docker's default \
         profile",
        "docker run --security-opt seccomp=unconfined --security-opt \
         apparmor=unconfined --security-opt systempaths=unconfined, or docker \
         run --privileged",
    )
    .when(machine::seccomp_filters),
    hint(
        page::CONTAINERS,
        REFUSED_BY_DOCKER,
        Some(EPERM),
        "root has not all of root's power here, as in a container",
        "docker run --privileged, or run as a plain user",
    )
    .when(machine::root_lacks_power),
    hint(
        page::LINUX,
        NEW_USER_NAMESPACE,
        Some(EPERM),
        "the kernel makes none in a chroot, nor for root of a user namespace \
         who is nobody outside",
        "run it outside; steps 1 to 5 need none as root",
    )
    .when(machine::we_are_root),
    hint(
        page::LINUX,
        &["memfd_create("],
        Some(EACCES),
        "this system lets no program be made in memory (vm.memfd_noexec is 2)",
        "sudo sysctl -w vm.memfd_noexec=1",
    ),
    hint(
        page::LINUX,
        NEW_USER_NAMESPACE,
        Some(EPERM),
        "this system lets only root make user namespaces",
        "run as root; see user_namespaces(7)",
    ),
    // Not run here; source: man page of Ubuntu's apparmor.d(5) (`deny userns`).
    hint(
        page::LINUX,
        NEW_USER_NAMESPACE,
        Some(EACCES),
        "a security module forbids user namespaces (AppArmor or SELinux)",
        "run as root; `sudo dmesg | tail` shows which one",
    ),
    hint(
        page::LINUX,
        NEW_USER_NAMESPACE,
        Some(ENOSPC),
        "user namespaces are switched off (user.max_user_namespaces is 0)",
        "sudo sysctl -w user.max_user_namespaces=10000; steps 1 to 5 need none \
         as root",
    )
    .when(machine::no_user_namespaces_at_all),
    hint(
        page::LINUX,
        NEW_USER_NAMESPACE,
        Some(ENOSPC),
        "the limit on user namespaces is reached, or there are 32 around this \
         one",
        "sudo sysctl -w user.max_user_namespaces=10000",
    ),
    hint(
        page::USER,
        NEW_USER_NAMESPACE,
        Some(EINVAL),
        "this kernel is built without user namespaces (CONFIG_USER_NS)",
        "run steps 1 to 5 as root, or use a distribution's kernel",
    ),
    hint(
        page::TROUBLESHOOTING,
        &["clone3(", "clone(", "unshare("],
        Some(ENOSPC),
        "the limit on a kind of namespace is reached",
        "see /proc/sys/user and namespaces(7)",
    ),
    // Tables of ids. Ubuntu refuses only here: the namespace itself is made.
    // Source: Ubuntu's wiki and the AppArmor project, unprivileged_userns_restriction.
    hint(
        page::LINUX,
        ID_MAP,
        Some(EPERM),
        NO_PROFILE,
        ALLOW_WITHOUT_PROFILE,
    )
    .when(machine::apparmor_restricts_user_namespaces),
    hint(
        page::LINUX,
        ID_MAP,
        Some(EACCES),
        NO_PROFILE,
        ALLOW_WITHOUT_PROFILE,
    )
    .when(machine::apparmor_restricts_user_namespaces),
    hint(
        page::USER,
        ID_MAP,
        Some(EPERM),
        "this is itself a user namespace, in which those ids don't exist",
        "run it outside, or as a plain user",
    )
    .when(machine::in_user_namespace),
    hint(
        page::USER,
        ID_MAP,
        Some(EPERM),
        "the ids are not ours to give, or the table is written already",
        "see user_namespaces(7), on uid_map",
    ),
    hint(
        page::USER,
        &[r#"execve("newuidmap"#, r#"execve("newgidmap"#],
        Some(ENOENT),
        "the programs that give a plain user more ids are not installed",
        "install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora)",
    ),
    hint(
        page::USER,
        &["newgidmap maps no group"],
        None,
        "another group was chosen by newgrp(1) or sg(1)",
        "leave that shell",
    ),
    hint(
        page::LAB_MACHINES,
        &["/etc/subuid or /etc/subgid grants nothing"],
        None,
        "only root can grant ids to you",
        "see subuid(5), and usermod(8) on --add-subuids",
    ),
    hint(
        page::USER,
        &["not taken from /etc/sub"],
        None,
        "what /etc/subuid or /etc/subgid grants to you is not yours alone",
        "see subuid(5); 65536 ids that nobody else has: usermod --add-subuids",
    ),
    hint(
        page::USER,
        &["newuidmap can't", "newgidmap can't"],
        None,
        "a set-uid program gains nothing under no_new_privs, which some \
         editors' terminals, sandboxes and containers set",
        "run it in a login shell",
    ),
    hint(
        page::USER,
        &["newuidmap", "newgidmap"],
        None,
        "/etc/subuid or /etc/subgid doesn't grant the ids, or the program is \
         not set-uid root (a nosuid mount?)",
        "see newuidmap(1) and subuid(5)",
    ),
    hint(
        page::USER,
        &["setgroups(", "setresuid(", "setresgid("],
        Some(EINVAL),
        "the id is not in the table of this user namespace",
        "see user_namespaces(7)",
    ),
    // Processes.
    hint(
        page::STEP_2,
        &["clone3(", "clone("],
        Some(EPERM),
        "new namespaces need root or a user namespace",
        "run as root; see namespaces(7)",
    ),
    hint(
        page::STEP_2,
        &["clone3(", "clone("],
        Some(EINVAL),
        "this kernel lacks one of the namespaces",
        "zgrep _NS /proc/config.gz shows which it has",
    ),
    hint(
        page::CONTAINERS,
        &["clone3(", "clone("],
        Some(ENOSYS),
        "a filter of system calls refuses to make processes",
        "run it outside of this sandbox",
    ),
    hint(
        page::STEP_4,
        &["clone3(", "clone(", "fork("],
        Some(EAGAIN),
        "a limit on the number of processes is reached",
        "raise --pids-limit, or `ulimit -u`; the container's init is a \
         process, too",
    ),
    hint(
        page::STEP_2,
        &["clone3(", "clone(", "fork("],
        Some(ENOMEM),
        "the first process of the PID namespace has ended, and the namespace \
         with it; it is not about memory",
        "see pid_namespaces(7)",
    ),
    hint(
        page::TROUBLESHOOTING,
        ANY_CALL,
        Some(EMFILE),
        "the limit on open files is too small",
        "raise it: ulimit -n 1024",
    ),
    hint(
        page::TROUBLESHOOTING,
        ANY_CALL,
        Some(ENFILE),
        "the whole machine has too many open files",
        "sudo sysctl -w fs.file-max=1000000",
    ),
    hint(
        page::STEP_1,
        &["sethostname("],
        Some(EPERM),
        "the UTS namespace is not ours",
        "the process must be created with CLONE_NEWUTS, by root or in a user \
         namespace",
    ),
    // Mounts.
    hint(
        page::CONTAINERS,
        MOUNTS,
        Some(EACCES),
        "AppArmor's profile refuses mounts, such as Docker's (docker-default)",
        "docker run --security-opt apparmor=unconfined",
    )
    .when(machine::apparmor_confines),
    // Not run here; source: ausearch(8).
    hint(
        page::LINUX,
        MOUNTS,
        Some(EACCES),
        "SELinux may refuse it",
        "sudo ausearch -m avc -ts recent tells",
    )
    .when(machine::selinux_enforces),
    hint(
        page::CONTAINERS,
        &[r#"mount("proc""#],
        Some(EPERM),
        "parts of /proc are covered here (as in Docker), and the kernel shows \
         no more of it in a user namespace",
        "docker run --security-opt systempaths=unconfined",
    )
    .when(machine::proc_is_masked),
    hint(
        page::STEP_3,
        &[r#"mount("proc""#],
        Some(EPERM),
        "a proc file system needs a PID namespace of its own, and the one \
         here must be visible",
        "see user_namespaces(7)",
    ),
    hint(
        page::CONTAINERS,
        &[r#"mount("sysfs""#],
        Some(EPERM),
        "parts of /sys are covered here (as in Docker), and the kernel shows \
         no more of it in a user namespace",
        "docker run --security-opt systempaths=unconfined",
    )
    .when(machine::sys_is_masked),
    hint(
        page::DEVICES,
        &[r#"mount("sysfs""#],
        Some(EPERM),
        "sysfs needs a network namespace of its own, and the one here must be \
         visible",
        "see user_namespaces(7)",
    ),
    hint(
        page::STEP_3,
        &[r#"mount("proc""#],
        Some(ENOENT),
        "the root file system has no directory for it",
        "remove a broken default one, and the next run builds it anew",
    ),
    hint(
        page::STEP_3,
        &[r#"making "/" the root"#],
        None,
        "the new root is the root already",
        "--rootfs takes any directory but /",
    ),
    hint(
        page::STEP_3,
        &["pivot_root("],
        Some(EINVAL),
        "the root is the initramfs, which nothing can replace",
        "let the machine's init move on to a real root first: switch_root(8)",
    )
    .when(machine::root_is_initramfs),
    hint(
        page::STEP_3,
        &["pivot_root("],
        Some(EINVAL),
        "the new root must be a mount point in a private tree",
        "see pivot_root(2), ERRORS",
    ),
    hint(
        page::STEP_3,
        &["mount("],
        Some(EPERM),
        "mounting needs root, or a user namespace and a mount namespace of \
         its own",
        "see mount_namespaces(7)",
    ),
    hint(
        page::STEP_5,
        &["upperdir is on "],
        Some(EINVAL),
        "that file system can't hold what a container writes",
        "leave --upper away, or name a directory on a local disk or a tmpfs: \
         mount -t tmpfs tmpfs DIR",
    ),
    // Not run here; source: fs/overlayfs/super.c, "idmapped layers are currently
    // not supported", which Linux 5.19 has removed.
    hint(
        page::USER,
        &[r#"mount("overlay""#],
        Some(EINVAL),
        "before Linux 5.19 an overlay takes no image whose ids are mapped, as \
         root's are",
        "use a newer kernel, or run as a plain user; or let root inside be \
         root outside: --root-is-root-outside",
    )
    .when(machine::overlays_lack_id_maps),
    hint(
        page::STEP_5,
        &[r#"mount("overlay""#],
        Some(EINVAL),
        "the upper directory must be on a local file system, with nothing \
         else in its work directory",
        "leave --upper away, or name another one; `sudo dmesg | tail` says \
         more",
    ),
    hint(
        page::STEP_5,
        &["the container can't delete or rename"],
        None,
        "a tmpfs has attributes user.* since Linux 6.6: before, what a \
         container deletes in its image can't be noted there (EIO)",
        "a newer kernel, or --upper DIR on a disk",
    ),
    hint(
        page::STEP_5,
        &[r#"mount("overlay""#],
        Some(ELOOP),
        "a layer is given twice, or lies inside another one",
        "name different directories",
    ),
    hint(
        page::STEP_5,
        &[r#"mount("overlay""#],
        Some(ENODEV),
        "this kernel has no overlay file system loaded",
        "sudo modprobe overlay",
    ),
    hint(
        page::STEP_5,
        &[r#"mount("overlay""#],
        Some(EPERM),
        "a plain user may mount overlays since Linux 5.11",
        "use a newer kernel, or root",
    ),
    hint(
        page::STEP_5,
        &[r#"mount("overlay""#],
        Some(ESTALE),
        "the upper directory was used with other layers",
        "name an empty one",
    ),
    hint(
        page::NAMESPACES,
        &["open_tree("],
        Some(EACCES),
        "a directory above it lets only others pass",
        "chmod o+x it, or use another place",
    ),
    hint(
        page::NAMESPACES,
        &["move_mount("],
        Some(EACCES),
        "the container's root is an unprivileged user outside, who can't pass \
         through a directory above it (mode 0700?)",
        "chmod o+x it, or use another place",
    ),
    hint(
        page::NAMESPACES,
        &["move_mount("],
        Some(EINVAL),
        "a directory can only be shown as a directory, a file only as a file",
        "look at both sides of --volume",
    ),
    hint(
        page::TROUBLESHOOTING,
        &[
            "mount_setattr(",
            "open_tree(",
            "move_mount(",
            "openat2(",
            "close_range(",
        ],
        Some(ENOSYS),
        "this kernel is older than 5.12, or a filter of system calls refuses \
         it",
        "use a newer kernel; in Docker: --security-opt seccomp=unconfined",
    ),
    hint(
        page::TROUBLESHOOTING,
        &["close_range("],
        Some(EINVAL),
        "this kernel is older than 5.11",
        "use a newer kernel",
    ),
    hint(
        page::USER,
        &["mount_setattr("],
        Some(EINVAL),
        "this file system can't show its files with other ids (overlay, NFS; \
         tmpfs before Linux 6.3)",
        "use a directory on ext4, xfs or btrfs, or run as a plain user; or let \
         root inside be root outside: --root-is-root-outside",
    ),
    // Control groups.
    hint(
        page::CONTAINERS,
        &["no delegated cgroup"],
        Some(EROFS),
        "the cgroup file systems are read-only here, as in Docker",
        "limits can only be set outside, or with docker run --privileged",
    ),
    hint(
        page::LINUX,
        &["no delegated cgroup"],
        None,
        "no cgroup is yours",
        "run as root; or, with systemd and cgroup version 2: systemd-run \
         --user --scope -p Delegate=yes -- COMMAND",
    ),
    hint(
        page::CGROUPS,
        &["other processes are in"],
        Some(EBUSY),
        "a cgroup with processes in it can't hand out controllers",
        "start the program alone in a scope: systemd-run --user --scope -p \
         Delegate=yes -- COMMAND",
    ),
    hint(
        page::LINUX,
        &[
            "the memory controller is not",
            "the cpu controller is not",
            "the pids controller is not",
        ],
        None,
        "a controller is not delegated to you",
        "put Delegate=cpu cpuset io memory pids into \
         /etc/systemd/system/user@.service.d/delegate.conf and log in again, \
         or run as root",
    ),
    hint(
        page::LINUX,
        &[r#"open("/sys/fs/cgroup"#],
        Some(EACCES),
        "this cgroup is somebody else's",
        "systemd-run --user --scope -p Delegate=yes -- COMMAND, or run as \
         root",
    ),
    hint(
        page::CGROUPS,
        &["the cgroup above, "],
        Some(EINVAL),
        "on version 1 no cgroup can have more of the CPU than those above it",
        "ask for no more by --cpus, or start it from another cgroup",
    ),
    hint(
        page::CGROUPS,
        &["mkdir(*/container-in-six-steps."],
        Some(EAGAIN),
        "the cgroup above allows no more below it (cgroup.max.descendants, \
         cgroup.max.depth)",
        "raise it, or start it from another cgroup; see cgroups(7)",
    ),
    hint(
        page::CGROUPS,
        &["joining the cgroup", "the cpu controller is not"],
        Some(EINVAL),
        "a cgroup takes a real-time process only with real-time of its own \
         (CONFIG_RT_GROUP_SCHED)",
        "start it with the usual policy: chrt --other 0 COMMAND; see sched(7)",
    ),
    // Not run here; source: cpu_legacy_files and cpu_files, kernel/sched/core.c.
    hint(
        page::CGROUPS,
        &["open(*/cpu.cfs_quota_us", "open(*/cpu.max"],
        Some(ENOENT),
        "this kernel is built without limits on the CPU (CONFIG_CFS_BANDWIDTH)",
        "use a distribution's kernel",
    ),
    // Not run here; source: Microsoft's release notes of WSL 2.5.1.
    hint(
        page::WSL,
        &[
            "no memory controller",
            "no cpu controller",
            "no pids controller",
        ],
        None,
        "this WSL is too old for it",
        "wsl --update in Windows",
    )
    .when(machine::on_wsl),
    hint(
        page::CGROUPS,
        &["no memory controller"],
        None,
        "the kernel was started without it, or nobody hands it to this cgroup",
        "boot with cgroup_enable=memory (a Raspberry Pi), or \
         systemd.unified_cgroup_hierarchy=1 on an old system",
    ),
    hint(
        page::CGROUPS,
        &["no cpu controller", "no pids controller"],
        None,
        "the kernel offers it in no tree of cgroups",
        "boot with systemd.unified_cgroup_hierarchy=1; see cgroups(7)",
    ),
    hint(
        page::CGROUPS,
        &["the cgroup /"],
        None,
        "the tree of cgroups is not mounted here, or only a part of it",
        "sudo mount -t cgroup2 none /sys/fs/cgroup, or run it outside of this \
         container",
    ),
    // The rest of what step 6 does.
    hint(
        page::STEP_6,
        &["landlock_create_ruleset("],
        None,
        "this kernel is older than 5.19, or was started without Landlock",
        "boot with lsm=landlock,… in front of what /sys/kernel/security/lsm \
         lists; without it the first wall must hold",
    ),
    hint(
        page::SECCOMP,
        &["seccomp(", "prctl(PR_SET_NO_NEW_PRIVS"],
        Some(EINVAL),
        "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)",
        "use a distribution's kernel; steps 1 to 5 need none",
    ),
    hint(
        page::SECCOMP,
        &["seccomp("],
        Some(EACCES),
        "a filter needs no_new_privs or CAP_SYS_ADMIN",
        "see seccomp(2)",
    ),
    hint(
        page::SECCOMP,
        &["seccomp("],
        Some(EPERM),
        "a filter of the sandbox around refuses another one",
        "run it outside of that sandbox",
    ),
    hint(
        page::CAPABILITIES,
        &["prctl(PR_CAPBSET_DROP"],
        Some(EPERM),
        "this process may not drop capabilities: it lacks CAP_SETPCAP",
        "it must be root of its user namespace; see capabilities(7)",
    ),
    hint(
        page::NAMESPACES,
        &["keyctl("],
        Some(EDQUOT),
        "too many keyrings",
        "sudo sysctl -w kernel.keys.maxkeys=2000",
    ),
    // Files.
    // Not run here; source: flock(2).
    hint(
        page::LAB_MACHINES,
        &["flock("],
        Some(ENOLCK),
        "the file system has no locks to give (NFS without lockd?)",
        "use a local one: XDG_CACHE_HOME=/tmp/cache-of-$USER",
    ),
    hint(
        page::TROUBLESHOOTING,
        &["*on the way "],
        None,
        "others could put programs into the image, which would run as you",
        CACHE_ELSEWHERE,
    ),
    hint(
        page::TROUBLESHOOTING,
        &["*is mounted noexec"],
        None,
        "the file system that it is on is mounted noexec",
        CACHE_ELSEWHERE,
    ),
    hint(
        page::NAMESPACES,
        &["mkdirat("],
        Some(EEXIST),
        "in the image, the destination is a symbolic link that leads nowhere",
        "name another destination",
    ),
    hint(
        page::STEP_3,
        &["entering the working directory"],
        Some(ELOOP),
        "a link to a descriptor, such as one in /proc/self, is no place to \
         work in; or links lead in a circle",
        "name the directory itself",
    ),
    hint(
        page::STEP_3,
        &["entering the working directory"],
        Some(ENOTDIR),
        "in the image, a part of that path is a file",
        "name a directory",
    ),
    hint(
        page::NAMESPACES,
        &["openat2("],
        Some(ELOOP),
        "in the image, the destination goes through a loop of symbolic links",
        "name another destination",
    ),
    hint(
        page::NAMESPACES,
        &["openat2("],
        Some(ENOTDIR),
        "in the image, a part of the destination is a file",
        "name another destination",
    ),
    hint(
        page::TROUBLESHOOTING,
        &["open("],
        Some(ENOTDIR),
        "it takes a directory",
        "unpack an archive first",
    ),
    hint(
        page::TROUBLESHOOTING,
        &["open("],
        Some(ELOOP),
        "a symbolic link leads back to itself",
        "namei -l shows where",
    ),
    hint(
        page::LAB_MACHINES,
        CACHE,
        Some(EDQUOT),
        "your quota on that disk is used up",
        CACHE_ELSEWHERE,
    ),
    hint(
        page::TROUBLESHOOTING,
        CACHE,
        Some(ENOSPC),
        "the disk is full",
        CACHE_ELSEWHERE,
    ),
    hint(
        page::TROUBLESHOOTING,
        CACHE,
        Some(EROFS),
        "its place is on a read-only file system",
        CACHE_ELSEWHERE,
    ),
    hint(
        page::TROUBLESHOOTING,
        CACHE,
        Some(EACCES),
        "its place is not yours to write",
        CACHE_ELSEWHERE,
    ),
    hint(
        page::TROUBLESHOOTING,
        &["mkdir(", "mkdirat("],
        Some(EROFS),
        "the directory is missing, and its file system is read-only",
        "make it where that is not",
    ),
    hint(
        page::TROUBLESHOOTING,
        &["mkdir(", "mkdirat("],
        Some(EACCES),
        "the directory above is not yours to write",
        "use another one",
    ),
];

/// The row for `error`, when one cause is usual.
pub fn find(error: &anyhow::Error) -> Option<&'static Hint> {
    let errno = errno(error);
    let links: Vec<String> = error.chain().map(ToString::to_string).collect();
    let is_of = |call: &&str| {
        let (beginning, part) = call.split_once('*').unwrap_or((call, ""));
        links
            .iter()
            .any(|link| link.starts_with(beginning) && link.contains(part))
    };
    let fits = |hint: &&Hint| {
        (hint.errno.is_none() || hint.errno == errno)
            && hint.calls.iter().any(is_of)
            && (hint.when)()
    };
    HINTS.iter().find(fits)
}
