//! The labels that AppArmor and SELinux give to a program that is executed.

use anyhow::{Context, ensure};
use common::sys;
use nix::{errno::Errno, fcntl::OFlag, sys::statfs::PROC_SUPER_MAGIC};

use crate::config::Process;

/// Has the kernel label what this process executes. Before the ids change: from
/// then on these files are root's.
///
/// # Errors
/// The kernel has no such module.
pub(crate) fn set(process: &Process) -> anyhow::Result<()> {
    let profile = &process.apparmor_profile;
    if !profile.is_empty() {
        let text = format!("exec {profile}");
        let own = write("/proc/self/attr/apparmor/exec", &text);
        // A file of its own since Linux 5.8.
        let written = match own {
            Err(error) if is_missing(&error) => {
                write("/proc/self/attr/exec", &text)
            }
            written => written,
        };
        written.with_context(|| format!("AppArmor profile {profile:?}"))?;
    }
    let label = &process.selinux_label;
    if !label.is_empty() {
        write("/proc/self/attr/exec", label)
            .with_context(|| format!("SELinux label {label:?}"))?;
    }
    Ok(())
}

fn is_missing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<sys::Error>();
    error.is_some_and(|it| it.errno == Errno::ENOENT)
}

/// The kernel's own file, and not one that the image has put in its place
/// (CVE-2019-16884).
fn write(path: &str, text: &str) -> anyhow::Result<()> {
    let file = sys::open(path, OFlag::O_WRONLY, 0)?;
    ensure!(
        sys::fstatfs(&file)?.filesystem_type() == PROC_SUPER_MAGIC,
        "{path} is not the kernel's"
    );
    Ok(sys::write(file, text)?)
}
