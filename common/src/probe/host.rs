//! What the probe lets its agent try on: all of it is the probe's own.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    mem,
    net::{Shutdown, TcpListener},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{MetadataExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    process,
    rc::Rc,
};

use anyhow::Context;
use nix::{
    fcntl::OFlag,
    sys::{
        signal::{SigSet, SigmaskHow, Signal},
        socket::SockType,
    },
    unistd::{Pid, getpid},
};

use crate::{
    host::files::by_number,
    process::Stat,
    rootfs,
    sys::{
        self, memfd,
        signals::{signal_ignore, sigprocmask},
    },
};

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
    /// Has made the directory and the shared memory.
    janitor: Janitor,
}

impl Host {
    pub(super) fn new() -> anyhow::Result<Rc<Host>> {
        let pid = process::id().cast_signed();
        let start_time = Stat::of_this_process()?.start_time;
        let secret = format!("{pid}.{start_time}");
        let (janitor, directory, shared_memory) = Janitor::new(&secret)?;
        let host = Host {
            hostname: hostname()?,
            pid,
            start_time,
            directory,
            shared_memory,
            secret,
            listener: TcpListener::bind("127.0.0.1:0")
                .context("listening on 127.0.0.1")?,
            leader: Cell::new(getpid()),
            program: copy_of_this_program()?,
            janitor,
        };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let secret = sys::open(host.secret_file(), flags, 0o644)?;
        sys::write(secret, &host.secret)?;

        // Whether the signal has come can then be seen at leisure.
        let mut mask = SigSet::empty();
        mask.add(HARMLESS);
        sigprocmask(SigmaskHow::SIG_BLOCK, &mask)?;
        Ok(Rc::new(host))
    }

    /// In the container's parent: leaves what a container could inherit.
    pub(super) fn lay_traces(&self) -> anyhow::Result<()> {
        // SAFETY: this process has one thread, so nobody reads the environment
        // meanwhile.
        unsafe { env::set_var(VARIABLE, &self.secret) };
        let file = sys::open(self.secret_file(), OFlag::O_RDONLY, 0)?;
        // Inherited, as it is not marked, and open until this process ends.
        // SAFETY: the number is free in this process, which has a handful of
        // descriptors; nobody else relies on it.
        unsafe { sys::dup2(file, DESCRIPTOR) }?;
        Ok(signal_ignore(IGNORED)?)
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

    /// A set-uid program that does not exist until the agent leaves it.
    pub(super) fn left_file(&self) -> PathBuf {
        self.directory.join(LEFT)
    }

    /// The directory for what a container keeps.
    pub(super) fn kept(&self) -> PathBuf {
        self.directory.join("kept")
    }

    /// Whether other users of the host can execute what the agent has left: on
    /// the host itself, in the image, or in what the container keeps.
    pub(super) fn others_have_what_is_left(&self) -> bool {
        let can_execute = |from: &Path, root: &Path| {
            below(root, &self.left_file())
                .is_some_and(|file| others_can_execute(from, &file))
        };
        let in_image = rootfs::default_dir().is_ok_and(|image| {
            // The cache itself may be where others can't go, and so may we.
            let cache = image.ancestors().nth(2);
            cache.is_some_and(|cache| can_execute(cache, &image))
        });
        let on_the_host =
            others_can_execute(&self.directory, &self.left_file());
        let kept = can_execute(&self.directory, &self.kept().join("upper"));
        on_the_host || in_image || kept
    }
}

/// The file that the agent writes.
const WRITTEN: &str = "written";

/// The program that it leaves.
const LEFT: &str = "left";

/// Whether others may go from the directory `from` to the set-uid program
/// `file`, which is below it, and execute it.
fn others_can_execute(from: &Path, file: &Path) -> bool {
    let mode = |path: &Path| path.symlink_metadata().map(|it| it.mode());
    let way = file.ancestors().skip(1);
    let mut way = way.take_while(|path| path.starts_with(from));
    mode(file).is_ok_and(|mode| mode & 0o4001 == 0o4001)
        && way.all(|path| mode(path).is_ok_and(|mode| mode & 0o001 != 0))
}

/// Where `directory` is for a container that writes into the image.
fn in_image(directory: &Path) -> Option<PathBuf> {
    below(&rootfs::default_dir().ok()?, directory)
}

/// Where `path` is if `root` is the root.
fn below(root: &Path, path: &Path) -> Option<PathBuf> {
    Some(root.join(path.strip_prefix("/").ok()?))
}

/// Nobody hears this process's errors any more.
pub(super) fn silence() -> anyhow::Result<()> {
    let null = sys::open("/dev/null", OFlag::O_WRONLY, 0)?;
    // SAFETY: the number stays open, for whoever uses it in this program.
    Ok(unsafe { sys::dup2(null, libc::STDERR_FILENO) }?)
}

/// A new directory, which the agent can enter whoever it is.
fn make_directory() -> anyhow::Result<PathBuf> {
    let directory = sys::mkdtemp(env::temp_dir().join("probe.XXXXXX"))?;
    sys::chmod(&directory, 0o755)?;
    Ok(directory)
}

/// A process that outlives us and all that we have started, however we end: it
/// makes what must not be left behind, and takes it away.
struct Janitor {
    pid: Pid,
    /// Who has a copy of it still lives.
    alive: Option<UnixStream>,
}

impl Janitor {
    /// Starts it, and waits for what it has made: the directory, and the number
    /// of the shared memory.
    fn new(secret: &str) -> anyhow::Result<(Janitor, PathBuf, i32)> {
        let (alive, janitors) = sys::socketpair(SockType::Stream)?;
        let janitors = UnixStream::from(janitors);
        // The janitor's copy of this must not keep it waiting.
        let mut alive = Some(UnixStream::from(alive));
        let pid = crate::process::fork(|| {
            alive.take();
            // The terminal's signals are for those who work.
            sys::setsid()?;
            let directory = make_directory()?;
            let memory = shared_memory(secret);
            if let Ok(id) = memory {
                let path = directory.as_os_str().as_bytes();
                let made = [&id.to_ne_bytes(), path].concat();
                // If nobody hears it, there is nobody to wait for.
                let _ = (&janitors).write_all(&made);
            }
            let _ = janitors.shutdown(Shutdown::Write);
            let _ = (&janitors).read(&mut [0]);
            clear_away(&directory);
            memory?;
            crate::process::exit(0)
        })?;
        drop(janitors);
        let mut made = Vec::new();
        if let Some(alive) = alive.as_ref() {
            sys::read_to_end(alive, &mut made)?;
        }
        // It says why.
        let (id, path) = made
            .split_first_chunk()
            .context("the probe has nothing to try on")?;
        let directory = OsString::from_vec(path.to_vec()).into();
        let janitor = Janitor { pid, alive };
        Ok((janitor, directory, i32::from_ne_bytes(*id)))
    }
}

fn clear_away(directory: &Path) {
    // Only what the agent has really left can be taken away: no errors.
    if let Some(ours) = in_image(directory) {
        let _ = fs::remove_file(ours.join(WRITTEN));
        let _ = fs::remove_file(ours.join(LEFT));
        let _ = fs::remove_dir(ours);
    }
    // The kernel's, if a container that keeps something was killed.
    let closed = directory.join("kept/work/work");
    let _ = fs::set_permissions(closed, fs::Permissions::from_mode(0o700));
    if let Err(error) = fs::remove_dir_all(directory) {
        let aim = format!("removing {directory:?}");
        crate::errors::warning(&anyhow::Error::from(error).context(aim));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The agent and its parent have copies of this; what it stands for
        // belongs to the probe.
        if process::id().cast_signed() != self.pid {
            return;
        }
        self.janitor.alive.take();
        if let Err(error) = crate::process::wait(self.janitor.pid) {
            crate::errors::warning(&error);
        }
    }
}

/// Makes this process the leader of a new session, with a new terminal as its
/// controlling terminal. Both are there until it ends.
///
/// A leader gets the first terminal that it opens. See pty(7), credentials(7).
pub(super) fn lead_a_session() -> anyhow::Result<()> {
    sys::setsid()?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let ours = sys::posix_openpt(flags)?;
    sys::grantpt(&ours)?;
    sys::unlockpt(&ours)?;
    let terminal = sys::open(sys::ptsname(&ours)?, OFlag::O_RDWR, 0)?;
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
    Ok(sys::gethostname()?.to_string_lossy().into_owned())
}

fn copy_of_this_program() -> anyhow::Result<OwnedFd> {
    let program = memfd::executable(c"probe")?;
    sys::fchmod(&program, 0o755)?;
    let source = sys::open("/proc/self/exe", OFlag::O_RDONLY, 0)?;
    let mut copy = File::from(program);
    io::copy(&mut File::from(source), &mut copy)
        .context("copying this program to memory")?;
    // Opened anew for reading: a file that is open for writing is ETXTBSY.
    Ok(sys::open(by_number(&copy), OFlag::O_RDONLY, 0)?)
}

/// Makes a shared memory segment that everybody may attach, with `text` in it.
/// It is removed already, so it goes with the last process that has it attached.
/// Until then its number can be used, in Linux. See shmctl(2), IPC_RMID.
fn shared_memory(text: &str) -> anyhow::Result<i32> {
    let id = sys::shmget_private(4096, 0o666)?;
    let memory = sys::shmat(id)?;
    // SAFETY: the segment is writable, has 4096 bytes, and `text` fewer.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), memory.cast(), text.len());
    }
    sys::shmctl_rmid(id)?;
    Ok(id)
}
