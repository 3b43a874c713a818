//! What a process gets from its parent without asking, and a container must
//! not have.
//!
//! Namespaces change what a process can *name*. What it *holds* already comes
//! along through fork(2) and execve(2): an open descriptor of a host directory
//! is a way out of any root. See the lists in fork(2) and execve(2).
#![allow(unsafe_code)]

use std::{env, ffi::c_char, fs, path::Path, slice};

use anyhow::{Context, bail};
use common::{
    host::files::{file_type, write_kernel_file},
    sys,
};
use nix::{
    errno::Errno,
    sys::{personality::Persona, resource::Resource, stat::SFlag},
    unistd::Pid,
};

/// Lets nothing of the host come along into the container but standard input,
/// output and error.
///
/// Open descriptors will be closed before the command is executed, ignored
/// signals are no longer ignored, the umask is 022, the session keyring a new,
/// empty one, the caller's command line is hidden, and addresses are random. Of
/// the resource limits only that on open files changes here, the others stay,
/// and so do priorities, as in Docker; the environment and the signal mask are set where the command is executed.
///
/// Must run as the container's root, which the new keyring belongs to; before
/// the init installs its signal handlers, which this would remove; and before
/// the first directory is made, which the umask applies to. See close_range(2),
/// signal(7), umask(2), keyctl(2).
///
/// # Errors
/// Standard input, output or error is a directory.
pub fn clear() -> anyhow::Result<()> {
    refuse_directories()?;
    let clear = || {
        close_descriptors_at_exec()?;
        limit_open_files()?;
        limit_inotify()?;
        reset_signals()?;
        // Takes back what setarch(8) has set, such as addresses that are no
        // longer random. See personality(2).
        sys::personality(Persona::empty())?;
        sys::umask(0o022);
        join_new_session_keyring()?;
        hide_command_line();
        anyhow::Ok(())
    };
    clear().context("leaving behind what was inherited")
}

/// Lets the kernel kill the container when memory is short, as any process, also
/// if it would not kill whoever has started it.
///
/// Runs in the parent: for the container it would be `EACCES`, since the file
/// belongs to the host's root by then. See proc(5).
pub fn reset_oom_score(child: Pid) -> sys::Result<()> {
    match write_kernel_file(format!("/proc/{child}/oom_score_adj"), "0") {
        // It was raised, and only root may lower it.
        Err(error) if is_refused(&error) => Ok(()),
        written => written,
    }
}

/// `run < /` would give the container the host's root directory: everything
/// lies below `/proc/self/fd/0`.
pub fn refuse_directories() -> anyhow::Result<()> {
    let names = ["standard input", "standard output", "standard error"];
    for (stream, name) in sys::standard_streams().into_iter().zip(names) {
        if file_type(&sys::fstat(stream)?) == SFlag::S_IFDIR {
            bail!("{name} is a directory of the host, a way out of any root");
        }
    }
    Ok(())
}

/// Marks every descriptor from 3 up as close-on-exec, and closes none yet: the
/// mounts are still to come.
///
/// Rust opens files so by itself, but what the parent's parent left open has no
/// such mark. What has it is closed before the first path of the image is
/// looked at ([`Workload::spawn`]). See close_range(2), since Linux 5.11.
///
/// [`Workload::spawn`]: common::Workload::spawn
pub fn close_descriptors_at_exec() -> sys::Result<()> {
    sys::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// How many files a process may have open, and how many it may ask for: for
/// each the kernel holds memory that no limit on memory counts. Programs that
/// need more than the first raise it themselves. See getrlimit(2).
const OPEN_FILES: (u64, u64) = (1024, 65536);

/// Lowers the limit on open files where it is higher.
fn limit_open_files() -> sys::Result<()> {
    let (soft, hard) = sys::getrlimit(Resource::RLIMIT_NOFILE)?;
    let (soft, hard) = (soft.min(OPEN_FILES.0), hard.min(OPEN_FILES.1));
    sys::setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
}

/// Lowers what all processes of the container may have of inotify(7). The kernel
/// counts it for the user who has made the user namespace, too, and then root of
/// the host, for example, would have nothing left. See proc_sys_user(5).
fn limit_inotify() -> anyhow::Result<()> {
    for (ours, hosts) in [
        ("max_inotify_instances", "max_user_instances"),
        ("max_inotify_watches", "max_user_watches"),
    ] {
        let limit = Path::new("/proc/sys/fs/inotify").join(hosts);
        // This kernel may have none.
        let Ok(text) = fs::read_to_string(&limit) else {
            continue;
        };
        let limit: u64 = text
            .trim()
            .parse()
            .with_context(|| format!("what is {limit:?}: {text:?}?"))?;
        let path = Path::new("/proc/sys/user").join(ours);
        match write_kernel_file(path, &(limit / 2).to_string()) {
            // We are in a container, which has limits of its own.
            Err(error) if is_refused(&error) || error.errno == Errno::EROFS => {
            }
            written => written?,
        }
    }
    Ok(())
}

/// Whether we have not the right to it.
fn is_refused(error: &sys::Error) -> bool {
    matches!(error.errno, Errno::EACCES | Errno::EPERM)
}

/// How many signals there are, those of real time included. See signal(7).
const NSIG: i32 = 64;

/// Sets every signal back to its default action.
///
/// execve(2) does that with handlers, but a signal that is *ignored* stays so:
/// under nohup(1) a container would be deaf to SIGHUP.
pub fn reset_signals() -> sys::Result<()> {
    // These two can't be ignored in the first place.
    let always_default = [libc::SIGKILL, libc::SIGSTOP];
    (1..=NSIG)
        .filter(|signal| !always_default.contains(signal))
        .try_for_each(sys::rt_sigaction_default)
}

/// Exchanges the session keyring, in which a login keeps its keys for
/// encrypted disks or Kerberos, for an empty one. See session-keyring(7).
pub fn join_new_session_keyring() -> sys::Result<()> {
    match sys::keyctl_join_session_keyring() {
        // A kernel built without keys has none to pass on.
        Err(error) if error.errno == Errno::ENOSYS => Ok(()),
        joined => joined,
    }
}

/// Leaves of the command line only the program's name.
///
/// Number 1 of the container goes on as a copy of our program, and in
/// `/proc/1/cmdline` everybody inside reads what its memory holds where the
/// arguments were: `--env PASSWORD=...`, paths of the host. Its environment needs
/// no such care: it is shown only to who may trace the process. See proc(5).
pub fn hide_command_line() {
    let name = common::host::program_name().as_bytes();
    // One behind the other, each with a NUL at its end. See execve(2).
    let size = env::args_os().map(|argument| argument.len() + 1).sum();
    // SAFETY: the C library has set it before `main`, and nobody changes it.
    let start = unsafe { program_invocation_name };
    if start.is_null() || size == 0 {
        return;
    }
    // SAFETY: there the kernel has put the strings that this process was
    // executed with. We have one thread, and whoever holds a pointer to one of
    // them still finds bytes that end in NUL.
    let memory = unsafe { slice::from_raw_parts_mut(start.cast::<u8>(), size) };
    memory.fill(0);
    // The last byte stays NUL, or the kernel would show what is behind it.
    let length = name.len().min(size - 1);
    memory[..length].copy_from_slice(&name[..length]);
}

unsafe extern "C" {
    /// The first argument, where the kernel has put it. See
    /// program_invocation_name(3).
    static program_invocation_name: *mut c_char;
}
