//! What to do about the failures that readers meet: one table for all steps.

use nix::errno::Errno::{self, *};

use crate::report;

/// Advice for a call that failed with an errno which has one usual cause.
struct Hint {
    /// How the failed call begins, as the error prints it.
    call: &'static str,
    errno: Errno,
    advice: &'static str,
}

const fn hint(call: &'static str, errno: Errno, advice: &'static str) -> Hint {
    Hint {
        call,
        errno,
        advice,
    }
}

const HINTS: &[Hint] = &[
    hint(
        "unshare(CLONE_NEWUSER)",
        EPERM,
        "this system lets only root make user namespaces (or this is a \
         chroot); run as root, or see user_namespaces(7)",
    ),
    hint(
        "unshare(CLONE_NEWUSER)",
        ENOSPC,
        "the limit on user namespaces is reached: \
         sysctl -w user.max_user_namespaces=10000",
    ),
    hint(
        r#"write("/proc/self/uid_map""#,
        EPERM,
        "AppArmor restricts user namespaces here (Ubuntu 23.10 and later): \
         run with sudo, or give the program a profile that allows userns",
    ),
];

/// The advice for `error`, when one cause is usual.
pub(crate) fn find(error: &anyhow::Error) -> Option<&'static str> {
    let errno = report::errno(error)?;
    let calls: Vec<String> = error.chain().map(ToString::to_string).collect();
    let fits = |hint: &&Hint| {
        hint.errno == errno
            && calls.iter().any(|call| call.starts_with(hint.call))
    };
    HINTS.iter().find(fits).map(|hint| hint.advice)
}
