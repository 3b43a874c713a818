//! What the probe lets its agent try on: all of it is the probe's own.

use std::{
    cell::Cell,
    env,
    fs::{self, File},
    io::{self, PipeWriter, Read, Write},
    mem,
    net::TcpListener,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process,
    rc::Rc,
};

use anyhow::Context;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::{
        signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
        stat::{Mode, fchmod},
    },
    unistd::{Pid, dup2_raw, gethostname, getpid, mkdtemp, setsid},
};

use crate::{memfd, process::Stat, rootfs};

/// Set in the environment of the container's parent.
pub(super) const VARIABLE: &str = "PROBE_OUTSIDE";

/// The number under which the container's parent holds a file open.
pub(super) const DESCRIPTOR: i32 = 100;

/// A signal that the container's parent ignores.
pub(super) const IGNORED: Signal = Signal::SIGWINCH;

/// A signal that does nothing, unless somebody waits for it.
pub(super) const HARMLESS: Signal = Signal::SIGURG;

/// The outside: the probe's process and what it has laid out.
pub(super) struct Host {
    /// Its host name, as long as nobody changes it.
    pub(super) hostname: String,
    /// The probe's process id.
    pub(super) pid: i32,
    /// When the probe's process started; with the pid it is unique.
    pub(super) start_time: u64,
    /// A temporary directory, in which it keeps its files, and on which the
    /// agent mounts something.
    pub(super) directory: PathBuf,
    /// What cannot be known without having seen it.
    pub(super) secret: String,
    /// Listens on the loopback address.
    pub(super) listener: TcpListener,
    /// A System V shared memory segment with the secret in it.
    pub(super) shared_memory: i32,
    /// A process in the session and process group of the container's parent.
    pub(super) leader: Cell<Pid>,
    /// A copy of this program, to be executed where there are no files.
    pub(super) program: OwnedFd,
    /// Takes the directory away in the end.
    janitor: Janitor,
}

impl Host {
    pub(super) fn new() -> anyhow::Result<Rc<Host>> {
        let pid = process::id() as i32;
        let start_time = Stat::read("self")
            .context("no start time in /proc/self/stat")?
            .start_time;
        let secret = format!("{pid}.{start_time}");
        let directory = make_directory()?;
        let janitor = Janitor::new(&directory)?;
        let host = Host {
            hostname: hostname()?,
            pid,
            start_time,
            directory,
            shared_memory: shared_memory(&secret)?,
            secret,
            listener: TcpListener::bind("127.0.0.1:0")
                .context(r#"bind("127.0.0.1:0")"#)?,
            leader: Cell::new(getpid()),
            program: copy_of_this_program()?,
            janitor,
        };
        fs::write(host.secret_file(), &host.secret).context("write(secret)")?;

        // Whether the signal has come can then be seen at leisure.
        let mut mask = SigSet::empty();
        mask.add(HARMLESS);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)
            .context("sigprocmask(SIG_BLOCK)")?;
        Ok(Rc::new(host))
    }

    /// In the container's parent: leaves what a container could inherit.
    pub(super) fn lay_traces(&self) -> anyhow::Result<()> {
        // SAFETY: this process has one thread, so nobody reads the environment
        // meanwhile.
        unsafe { env::set_var(VARIABLE, &self.secret) };
        let file = File::open(self.secret_file()).context("open(secret)")?;
        // SAFETY: the number is free in this process, which has a handful of
        // descriptors; nobody else relies on it.
        let copy = unsafe { dup2_raw(&file, DESCRIPTOR) }
            .context("dup2(secret, 100)")?;
        fcntl(&copy, FcntlArg::F_SETFD(FdFlag::empty()))
            .context("fcntl(100, F_SETFD, 0)")?;
        // It stays open until this process ends.
        mem::forget(copy);
        // SAFETY: SIG_IGN is no handler.
        unsafe { signal(IGNORED, SigHandler::SigIgn) }
            .context("signal(SIGWINCH, SIG_IGN)")?;
        Ok(())
    }

    /// A file of the host, with the secret in it.
    pub(super) fn secret_file(&self) -> PathBuf {
        self.directory.join("secret")
    }

    /// A file that does not exist until the agent writes it.
    pub(super) fn written_file(&self) -> PathBuf {
        self.directory.join(WRITTEN)
    }

    /// Where the agent's file would be if it was written into the image.
    pub(super) fn written_in_image(&self) -> Option<PathBuf> {
        Some(in_image(&self.directory)?.join(WRITTEN))
    }
}

/// The file that the agent writes.
const WRITTEN: &str = "written";

/// Where `directory` is for a container that writes into the image.
fn in_image(directory: &Path) -> Option<PathBuf> {
    let image = rootfs::default_dir().ok()?;
    Some(image.join(directory.strip_prefix("/").ok()?))
}

/// A new directory, which the agent can enter whoever it is.
fn make_directory() -> anyhow::Result<PathBuf> {
    let template = env::temp_dir().join("probe.XXXXXX");
    let directory =
        mkdtemp(&template).with_context(|| format!("mkdtemp({template:?})"))?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("chmod({directory:?}, 0755)"))?;
    Ok(directory)
}

/// A process that outlives us and all that we have started, however we end, and
/// takes away the files that are left.
struct Janitor {
    pid: Pid,
    /// Who has a copy of it still lives.
    alive: Option<PipeWriter>,
}

impl Janitor {
    fn new(directory: &Path) -> anyhow::Result<Janitor> {
        let (mut end, alive) = io::pipe().context("pipe2(O_CLOEXEC)")?;
        // The janitor's copy of this must not keep it waiting.
        let mut alive = Some(alive);
        let janitor = crate::process::fork(|| {
            alive.take();
            // The terminal's signals are for those who work.
            setsid().context("setsid()")?;
            let _ = end.read(&mut [0]);
            clear_away(directory);
            crate::process::exit(0)
        });
        match janitor {
            Ok(pid) => Ok(Janitor { pid, alive }),
            Err(error) => {
                clear_away(directory);
                Err(error)
            }
        }
    }
}

fn clear_away(directory: &Path) {
    // Only what the agent has really left can be taken away: no errors.
    if let Some(ours) = in_image(directory) {
        let _ = fs::remove_file(ours.join(WRITTEN));
        let _ = fs::remove_dir(ours);
    }
    if let Err(error) = fs::remove_dir_all(directory) {
        let call = format!("rmdir({directory:?})");
        crate::report::warning(&anyhow::Error::from(error).context(call));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The agent and its parent have copies of this; what it stands for
        // belongs to the probe.
        if process::id() as i32 != self.pid {
            return;
        }
        self.janitor.alive.take();
        if let Err(error) = crate::process::wait(self.janitor.pid) {
            crate::report::warning(&error);
        }
    }
}

/// Makes this process the leader of a new session, with a new terminal as its
/// controlling terminal. Both are there until it ends.
///
/// A leader gets the first terminal that it opens. See pty(7), credentials(7).
pub(super) fn lead_a_session() -> anyhow::Result<()> {
    setsid().context("setsid()")?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let ours = posix_openpt(flags).context(r#"open("/dev/ptmx")"#)?;
    grantpt(&ours).context("grantpt()")?;
    unlockpt(&ours).context("unlockpt()")?;
    let path = ptsname_r(&ours).context("ptsname()")?;
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("open({path:?})"))?;
    mem::forget((ours, terminal));
    Ok(())
}

/// Whether `signal`, which the probe's processes have blocked, was sent to the
/// process `pid`. See proc(5).
pub(super) fn is_pending(signal: Signal, pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let set = set.map(|set| u64::from_str_radix(set.trim(), 16));
    matches!(set, Some(Ok(set)) if set >> (signal as u32 - 1) & 1 == 1)
}

/// The host name of this process's UTS namespace.
pub(super) fn hostname() -> anyhow::Result<String> {
    let name = gethostname().context("gethostname()")?;
    Ok(name.to_string_lossy().into_owned())
}

fn copy_of_this_program() -> anyhow::Result<OwnedFd> {
    let program = memfd::executable(c"probe")?;
    fchmod(&program, Mode::from_bits_truncate(0o755))
        .context("fchmod(memfd)")?;
    let mut source =
        File::open("/proc/self/exe").context("open(/proc/self/exe)")?;
    let mut copy = File::from(program);
    io::copy(&mut source, &mut copy).context("write(memfd)")?;
    copy.flush().context("write(memfd)")?;
    // Opened anew for reading: a file that is open for writing is ETXTBSY.
    let path =
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
    let readable =
        File::open(&path).with_context(|| format!("open({path:?})"))?;
    Ok(readable.into())
}

/// Makes a shared memory segment that everybody may attach, with `text` in it.
/// It is removed already, so it goes with the last process that has it attached.
/// Until then its number can be used, in Linux. See shmctl(2), IPC_RMID.
fn shared_memory(text: &str) -> anyhow::Result<i32> {
    // SAFETY: shmget(2) takes numbers only.
    let id = unsafe {
        libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o666)
    };
    let id = Errno::result(id).context("shmget(IPC_PRIVATE, 4096)")?;
    // SAFETY: a null address lets the kernel choose where it is attached.
    let memory = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    if memory as isize == -1 {
        return Err(Errno::last()).context("shmat()");
    }
    // SAFETY: the segment is writable, has 4096 bytes, and `text` fewer.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), memory.cast(), text.len());
    }
    // SAFETY: IPC_RMID takes no buffer.
    let removed =
        unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    Errno::result(removed).context("shmctl(IPC_RMID)")?;
    Ok(id)
}
