//! Processes and their namespaces: what makes them is refused, or there is
//! a limit on them.

use super::Row;
use crate::{
    errors::pages::{LINUX, STEP_1, STEP_2, STEP_4, TROUBLESHOOTING},
    host::machine::{
        children_go_elsewhere, lacks_a_namespace, memory_is_noexec,
    },
};

/// What makes a process. In namespaces of its own it is one of the first two.
const NEW_PROCESS: [&str; 3] = ["clone3(", "clone(", "fork("];

const NEW_NAMESPACE: [&str; 3] = ["clone3(", "clone(", "unshare("];

const ANY_CALL: [&str; 1] = [""];

pub(super) const ROWS: &[Row] = hints! {
    NEW_NAMESPACE, EINVAL, children_go_elsewhere =>
        "what this process starts goes to another PID namespace, and makes none from there: it was started by `unshare --pid`",
        "unshare --pid --fork",
        STEP_2, met by "refusals::children_of_another_pid_namespace";

    NEW_NAMESPACE, EINVAL, lacks_a_namespace =>
        "this kernel is built without one of the namespaces",
        "zgrep _NS /proc/config.gz shows which it has",
        STEP_2, source "copy_utsname() in include/linux/utsname.h";

    NEW_NAMESPACE, ENOSPC, always =>
        "the limit on a kind of namespace is reached",
        "see /proc/sys/user and namespaces(7)",
        TROUBLESHOOTING, met by "refusals::a_limit_on_namespaces";

    NEW_PROCESS, EAGAIN, always =>
        "a limit on the number of processes is reached",
        "raise --pids-limit, or `ulimit -u`; the container's init is a process, too",
        STEP_4, met by "refusals::room_for_one_process_only";

    NEW_PROCESS, ENOMEM, children_go_elsewhere =>
        "the first process of the PID namespace has ended, and the namespace with it; it is not about memory",
        "unshare --pid --fork; see pid_namespaces(7)",
        STEP_2, met by "refusals::a_pid_namespace_that_has_ended";

    // In a lab: without CLONE_NEWUTS.
    ["sethostname("], EPERM, always =>
        "the UTS namespace is not ours",
        "the process must be created with CLONE_NEWUTS, by root or in a user namespace",
        STEP_1, source "sethostname(2)";

    ["memfd_create("], EACCES, memory_is_noexec =>
        "this system lets no program be made in memory (vm.memfd_noexec is 2)",
        "sudo sysctl -w vm.memfd_noexec=1",
        LINUX, met by "refusals::no_programs_in_memory";

    ANY_CALL, EMFILE, always =>
        "the limit on open files is too small",
        "raise it: ulimit -n 1024",
        TROUBLESHOOTING, met by "refusals::too_few_open_files";

    ANY_CALL, ENFILE, always =>
        "the whole machine has too many open files",
        "sudo sysctl -w fs.file-max=1000000",
        TROUBLESHOOTING, source "open(2)";
};
