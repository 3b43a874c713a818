//! What a process gets from its parent without asking, and a container must
//! not have.
//!
//! Namespaces change what a process can *name*. What it *holds* already comes
//! along through fork(2) and execve(2): an open descriptor of a host directory
//! is a way out of any root. See the lists in fork(2) and execve(2).

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::{env, ffi::c_char, fs, ptr, slice};

use anyhow::{Context, bail};
use common::host::files::file_type;
use nix::errno::Errno;
use nix::sys::personality::{self, Persona};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use nix::unistd::Pid;

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
/// the first directory is made, which the umask applies to.
///
/// Errors: when standard input, output or error is a directory, or that of the
/// call that failed. See close_range(2), signal(7), umask(2), keyctl(2).
pub fn clear() -> anyhow::Result<()> {
    refuse_directories()?;
    let clear = || {
        close_descriptors_at_exec()?;
        limit_open_files()?;
        limit_inotify()?;
        reset_signals()?;
        reset_execution_domain()?;
        umask(Mode::from_bits_truncate(0o022));
        join_new_session_keyring()?;
        hide_command_line()
    };
    clear().context("leaving behind what was inherited")
}

/// Lets the kernel kill the container when memory is short, as any process, also
/// if it would not kill whoever has started it.
///
/// Runs in the parent: for the container it would be `EACCES`, since the file
/// belongs to the host's root by then. See proc_pid_oom_score_adj(5).
pub fn reset_oom_score(child: Pid) -> anyhow::Result<()> {
    let path = format!("/proc/{child}/oom_score_adj");
    match fs::write(&path, "0") {
        // It was raised, and only root may lower it.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        written => written.with_context(|| format!("write({path:?})")),
    }
}

/// `run < /` would give the container the host's root directory: everything
/// lies below `/proc/self/fd/0`.
fn refuse_directories() -> anyhow::Result<()> {
    for (number, name) in [
        (libc::STDIN_FILENO, "standard input"),
        (libc::STDOUT_FILENO, "standard output"),
        (libc::STDERR_FILENO, "standard error"),
    ] {
        // SAFETY: nothing in this program closes these three, and where they
        // were closed at the start, Rust's runtime opened /dev/null on them.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let stat = fstat(fd).with_context(|| format!("fstat({number})"))?;
        if file_type(&stat) == SFlag::S_IFDIR {
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
fn close_descriptors_at_exec() -> anyhow::Result<()> {
    // SAFETY: the call takes three integers. It closes nothing, so no owner of
    // a descriptor in this program is affected.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(done).context("close_range(3, ~0, CLOSE_RANGE_CLOEXEC)")?;
    Ok(())
}

/// How many files a process may have open, and how many it may ask for: for
/// each the kernel holds memory that no limit on memory counts. Programs that
/// need more than the first raise it themselves. See getrlimit(2).
const OPEN_FILES: (u64, u64) = (1024, 65536);

/// Lowers the limit on open files where it is higher.
fn limit_open_files() -> anyhow::Result<()> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit(NOFILE)")?;
    let (soft, hard) = (soft.min(OPEN_FILES.0), hard.min(OPEN_FILES.1));
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
        .with_context(|| format!("setrlimit(NOFILE, {soft}, {hard})"))
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
        match fs::write(&path, (limit / 2).to_string()) {
            // We are in a container, which has limits of its own.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
                ) => {}
            written => written.with_context(|| format!("write({path:?})"))?,
        }
    }
    Ok(())
}

/// Takes back what setarch(8) has set, such as addresses that are no longer
/// random. See personality(2).
fn reset_execution_domain() -> anyhow::Result<()> {
    personality::set(Persona::empty())
        .map(drop)
        .context("personality(PER_LINUX)")
}

/// How many signals there are, those of real time included. See signal(7).
const NSIG: libc::c_int = 64;

/// Sets every signal back to its default action.
///
/// execve(2) does that with handlers, but a signal that is *ignored* stays so:
/// under nohup(1) a container would be deaf to SIGHUP.
fn reset_signals() -> anyhow::Result<()> {
    // The kernel's struct sigaction: SIG_DFL, no flags, nothing masked.
    let default = [0_u64; 4];
    for signal in 1..=NSIG {
        // Not through the C library, which keeps two signals to itself, and
        // whose posix_spawn(3) leaves just these ignored in its children.
        // SAFETY: `default` is valid for the call and as large as the structure
        // is at most; SIG_DFL is no function that could be called.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null::<u64>(),
                size_of::<u64>(),
            )
        };
        match Errno::result(result) {
            // SIGKILL and SIGSTOP can't be ignored in the first place.
            Err(Errno::EINVAL) => {}
            result => {
                result.with_context(|| {
                    format!("rt_sigaction({signal}, SIG_DFL)")
                })?;
            }
        }
    }
    Ok(())
}

/// Exchanges the session keyring, in which a login keeps its keys for
/// encrypted disks or Kerberos, for an empty one. See session-keyring(7).
fn join_new_session_keyring() -> anyhow::Result<()> {
    // SAFETY: a null pointer for the name asks for a keyring without one; the
    // call reads nothing else.
    let keyring = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            ptr::null::<c_char>(),
        )
    };
    match Errno::result(keyring) {
        // A kernel built without keys has none to pass on.
        Err(Errno::ENOSYS) => Ok(()),
        result => result
            .map(drop)
            .context("keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)"),
    }
}

/// Leaves of the command line only the program's name.
///
/// Number 1 of the container goes on as a copy of our program, and in
/// `/proc/1/cmdline` everybody inside reads what its memory holds where the
/// arguments were: `--env PASSWORD=...`, paths of the host. Its environment needs
/// no such care: it is shown only to who may trace the process. See proc(5).
fn hide_command_line() -> anyhow::Result<()> {
    let name = common::host::program_name().as_bytes();
    // One behind the other, each with a NUL at its end. See execve(2).
    let size = env::args_os().map(|argument| argument.len() + 1).sum();
    // SAFETY: the C library has set it before `main`, and nobody changes it.
    let start = unsafe { program_invocation_name };
    if start.is_null() || size == 0 {
        return Ok(());
    }
    // SAFETY: there the kernel has put the strings that this process was
    // executed with. We have one thread, and whoever holds a pointer to one of
    // them still finds bytes that end in NUL.
    let memory = unsafe { slice::from_raw_parts_mut(start.cast::<u8>(), size) };
    memory.fill(0);
    // The last byte stays NUL, or the kernel would show what is behind it.
    let length = name.len().min(size - 1);
    memory[..length].copy_from_slice(&name[..length]);
    Ok(())
}

unsafe extern "C" {
    /// The first argument, where the kernel has put it. See
    /// program_invocation_name(3).
    static program_invocation_name: *mut c_char;
}
