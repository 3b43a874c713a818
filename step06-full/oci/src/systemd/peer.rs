//! Whether a number means the same process to systemd and to us.
//!
//! systemd is told by a number which process is to be in a scope. In another PID
//! namespace the same number is another process's, which would be moved and
//! limited in its place. Not that the namespace is the first one is asked for: in
//! WSL, and in a container that boots, systemd is in one of its own.

use std::os::unix::net::UnixStream;

use anyhow::ensure;
use common::{host::files::read_kernel_file, sys};

/// Looks at who listens at the other end of `stream`: systemd itself, which has
/// made the bus's socket, or the bus.
///
/// # Errors
/// It is in another PID namespace.
pub(super) fn expect_our_numbers(stream: &UnixStream) -> anyhow::Result<()> {
    // 0: it has no number here. See the pid of SO_PEERCRED in unix(7), and
    // pid_namespaces(7).
    let pid = sys::getsockopt_peercred(stream)?.pid();
    ensure!(
        pid != 0 && !is_below(pid),
        "systemd counts processes in another PID namespace, and would take the \
         number of ours for somebody else's: start step06-oci where systemd runs"
    );
    Ok(())
}

/// Whether the process `pid` has a number in a PID namespace below ours, too. One
/// that has ended, as a bus has that went into the background, is none.
fn is_below(pid: i32) -> bool {
    let text = read_kernel_file(format!("/proc/{pid}/status"));
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let numbers = text.lines().find_map(|it| it.strip_prefix("NSpid:"));
    numbers.is_some_and(|it| it.split_whitespace().count() > 1)
}
