//! The checker's own program inside of a container. It does what it is asked to,
//! one request a line, and answers in one line, over its standard input: a socket
//! whose other end the checker has. So nothing that a step prints is taken for
//! an answer, and the kernel says who has spoken. See unix(7), SCM_CREDENTIALS.
#![allow(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsFd, FromRawFd},
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{
        signal::{
            SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction,
        },
        stat::Mode,
        wait::{WaitStatus, waitpid},
    },
    unistd::{
        ForkResult, Pid, chdir, chroot, fchdir, fork, gethostname, getpid,
        getppid, pause, sethostname,
    },
};

/// What it begins with: whoever hears this knows that it is up.
pub(crate) const HELLO: &str = "here\n";

/// Speaks until it is told to exit, or nobody listens any more.
pub(crate) fn main() -> i32 {
    // SAFETY: standard input is open, and nobody else here uses it.
    let mut channel = unsafe { File::from_raw_fd(0) };
    let Ok(reading) = channel.try_clone() else {
        return 1;
    };
    // In one write, and so in one piece.
    if channel.write_all(HELLO.as_bytes()).is_err() {
        return 1;
    }
    for line in BufReader::new(reading).lines().map_while(Result::ok) {
        let Ok(words) = serde_json::from_str::<Vec<String>>(&line) else {
            return 1;
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let ["exit", code] = words[..] {
            return code.parse().unwrap_or(1);
        }
        let answer = match act(&words) {
            Ok(text) => text,
            Err(error) => format!("{}{error:?}", REFUSED),
        };
        let answer = serde_json::Value::from(answer);
        if writeln!(channel, "{answer}").is_err() {
            return 1;
        }
    }
    1
}

/// How an answer begins that is the name of an error.
pub(crate) const REFUSED: &str = "refused: ";

fn act(words: &[&str]) -> nix::Result<String> {
    let done = || Ok(String::new());
    match *words {
        ["read", path] => text(fs::read_to_string(path)),
        ["write", path, words] => {
            io(fs::write(path, words))?;
            done()
        }
        // A device is written to and not made.
        ["write-there", path, words] => {
            let mut file = io(OpenOptions::new().write(true).open(path))?;
            io(file.write_all(words.as_bytes()))?;
            done()
        }
        ["mkdir", path] => io(fs::create_dir(path)).and_then(|()| done()),
        ["unlink", path] => io(fs::remove_file(path)).and_then(|()| done()),
        ["remove-all", path] => {
            io(fs::remove_dir_all(path)).and_then(|()| done())
        }
        ["symlink", to, path] => io(symlink(to, path)).and_then(|()| done()),
        ["chmod", path, mode] => {
            let mode = u32::from_str_radix(mode, 8).unwrap_or(0);
            let mode = fs::Permissions::from_mode(mode);
            io(fs::set_permissions(path, mode)).and_then(|()| done())
        }
        ["stat", path] => stat(path),
        ["list", path] => {
            let mut names: Vec<String> = io(fs::read_dir(path))?
                .flatten()
                .map(|it| it.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            Ok(names.join("\n"))
        }
        ["hostname"] => Ok(gethostname()?.to_string_lossy().into_owned()),
        ["sethostname", name] => sethostname(name).and_then(|()| done()),
        ["numbers"] => Ok(format!("{} {}", getpid(), getppid())),
        ["mount", path] => {
            let kind = Some("tmpfs");
            mount(kind, path, kind, MsFlags::empty(), None::<&str>)?;
            done()
        }
        ["kill", pid, signal] => {
            kill(number(pid)?, signal.parse::<Signal>()?)?;
            done()
        }
        ["catch", signal] => catch(signal.parse()?).and_then(|()| done()),
        ["caught"] => Ok(caught()),
        ["fork", count] => {
            let count = count.parse().map_err(|_| Errno::EINVAL)?;
            Ok(sleepers(count).to_string())
        }
        ["orphans", count] => {
            orphans(count.parse().map_err(|_| Errno::EINVAL)?)
        }
        ["orphan-that-ends"] => orphan_that_ends().and_then(|()| done()),
        ["eat", mib] => eat(mib.parse().map_err(|_| Errno::EINVAL)?),
        ["call", name] => call(name).and_then(|()| done()),
        ["unshare"] => unshare(CloneFlags::CLONE_NEWUSER).and_then(|()| done()),
        ["escape", ref files @ ..] => {
            let files = files.iter().filter_map(|it| HostFile::parse(it));
            Ok(escapes(&files.collect::<Vec<_>>()).join(", "))
        }
        _ => Err(Errno::ENOSYS),
    }
}

fn io<T>(result: std::io::Result<T>) -> nix::Result<T> {
    result.map_err(|error| {
        Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
    })
}

fn text(result: std::io::Result<String>) -> nix::Result<String> {
    io(result)
}

fn number(pid: &str) -> nix::Result<Pid> {
    match pid {
        "self" => Ok(getpid()),
        _ => Ok(Pid::from_raw(pid.parse().map_err(|_| Errno::EINVAL)?)),
    }
}

/// What is there, its mode, and the device that it is or is on.
fn stat(path: &str) -> nix::Result<String> {
    let file = io(fs::symlink_metadata(path))?;
    let kind = file.file_type();
    let mode = file.mode() & 0o7777;
    Ok(match kind.is_char_device() {
        true => format!(
            "device {}:{}",
            libc::major(file.rdev()),
            libc::minor(file.rdev())
        ),
        false if kind.is_dir() => format!("directory {mode:o}"),
        false if kind.is_symlink() => "link".to_owned(),
        false => format!("file {mode:o}"),
    })
}

static CAUGHT: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_signal(signal: libc::c_int) {
    CAUGHT.store(signal, Ordering::SeqCst);
}

fn catch(signal: Signal) -> nix::Result<()> {
    CAUGHT.store(0, Ordering::SeqCst);
    let handler = SigHandler::Handler(on_signal);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler stores a number, and nothing else.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// Which signal has come, after a while if none had.
fn caught() -> String {
    for _ in 0..200 {
        let signal = CAUGHT.load(Ordering::SeqCst);
        if let Ok(signal) = Signal::try_from(signal) {
            return signal.as_str().to_owned();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    "nothing".to_owned()
}

/// Starts processes that sleep; returns how many there could be.
fn sleepers(count: usize) -> usize {
    let mut children = Vec::new();
    for _ in 0..count {
        // SAFETY: this program has one thread, and the child only waits.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => children.push(child),
            Ok(ForkResult::Child) => loop {
                pause();
            },
            Err(_) => break,
        }
    }
    for child in &children {
        let _ = kill(*child, Signal::SIGKILL);
        let _ = waitpid(*child, None);
    }
    children.len()
}

/// Makes processes that lose their parent at once and then sleep.
fn orphans(count: usize) -> nix::Result<String> {
    for _ in 0..count {
        lose_parent(|| {
            loop {
                pause();
            }
        })?;
    }
    Ok(String::new())
}

fn orphan_that_ends() -> nix::Result<()> {
    lose_parent(|| ())
}

/// Has a process without a parent do something, and then end.
fn lose_parent(act: impl FnOnce()) -> nix::Result<()> {
    // SAFETY: this program has one thread.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        return waitpid(child, None).map(drop);
    }
    // SAFETY: as above.
    if let Ok(ForkResult::Child) = unsafe { fork() } {
        act();
    }
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(0) }
}

/// Has a child use so much memory, and says how that ended.
fn eat(mib: usize) -> nix::Result<String> {
    // SAFETY: as above.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => format!("exit {code}"),
            WaitStatus::Signaled(_, signal, _) => signal.as_str().to_owned(),
            other => format!("{other:?}"),
        }),
        ForkResult::Child => {
            let mut kept = Vec::new();
            for _ in 0..mib {
                kept.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
            // SAFETY: _exit(2) has no preconditions.
            unsafe { libc::_exit(0) }
        }
    }
}

/// A call that a filter may refuse.
fn call(name: &str) -> nix::Result<()> {
    let (number, arguments) = match name {
        // Of process 1, nothing.
        "process_vm_readv" => (libc::SYS_process_vm_readv, [1, 0, 0, 0]),
        "AF_PACKET" => (libc::SYS_socket, [libc::AF_PACKET, 2, 0, 0]),
        "AF_VSOCK" => (libc::SYS_socket, [libc::AF_VSOCK, 2, 0, 0]),
        // No pair is taken for these: there is no place for it.
        "AF_PACKET pair" => (libc::SYS_socketpair, [libc::AF_PACKET, 2, 0, 0]),
        _ => return Err(Errno::EINVAL),
    };
    let [one, two, three, four] = arguments.map(libc::c_long::from);
    // SAFETY: all arguments are numbers, or null.
    let done =
        unsafe { libc::syscall(number, one, two, three, four, 0_i64, 0_i64) };
    Errno::result(done).map(drop)
}

/// A file of the host: where it is there, and which one it is.
struct HostFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl HostFile {
    /// Of `DEVICE:INODE:PATH`.
    fn parse(text: &str) -> Option<HostFile> {
        let mut fields = text.splitn(3, ':');
        Some(HostFile {
            device: fields.next()?.parse().ok()?,
            inode: fields.next()?.parse().ok()?,
            path: fields.next()?.into(),
        })
    }

    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path)
            .is_ok_and(|it| (it.dev(), it.ino()) == (self.device, self.inode))
    }
}

/// A way out, and what it is called.
type Escape = (&'static str, fn(&[HostFile]) -> nix::Result<bool>);

const ESCAPES: [Escape; 6] = [
    ("by its path", |files| Ok(can_see(files))),
    ("through /proc/PID/root, cwd or fd", through_proc),
    ("through a descriptor that was open", through_descriptors),
    ("by chroot(2) and an open directory", by_chroot),
    (r#"by umount2("/") and setns(2)"#, by_umount),
    (r#"by umount2("/"), again and again"#, by_umounts),
];

/// Tries to reach a file of the host, each time in a child: it changes its root.
fn escapes(files: &[HostFile]) -> Vec<&'static str> {
    let works = |(_, escape): &&Escape| {
        // SAFETY: this program has one thread.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => {
                matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0)))
            }
            Ok(ForkResult::Child) => {
                let out = matches!(escape(files), Ok(true));
                // SAFETY: _exit(2) has no preconditions.
                unsafe { libc::_exit(i32::from(!out)) }
            }
            Err(_) => false,
        }
    };
    ESCAPES
        .iter()
        .filter(works)
        .map(|(name, _)| *name)
        .collect()
}

fn can_see(files: &[HostFile]) -> bool {
    files.iter().any(|it| it.is_at(&it.path))
}

/// Whether one of them is to be seen from `directory` or from above it.
fn is_above(directory: &Path, files: &[HostFile]) -> bool {
    let mut above = directory.to_owned();
    for _ in 0..16 {
        let is_here = |file: &HostFile| {
            let relative = file.path.strip_prefix("/").unwrap_or(&file.path);
            file.is_at(&above.join(relative))
        };
        if files.iter().any(is_here) {
            return true;
        }
        above.push("..");
    }
    false
}

fn through_proc(files: &[HostFile]) -> nix::Result<bool> {
    let processes = io(fs::read_dir("/proc"))?.flatten();
    for process in processes.map(|it| it.path()) {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten();
        let links = open.flatten().map(|it| it.path());
        let links = links.chain(["root", "cwd"].map(|it| process.join(it)));
        for link in links {
            if link.is_dir() && is_above(&link, files) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn through_descriptors(files: &[HostFile]) -> nix::Result<bool> {
    for number in 3..1024 {
        // SAFETY: a number that is no descriptor is an error, EBADF.
        if unsafe { libc::fchdir(number) } == 0
            && is_above(Path::new("."), files)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A directory stays open above a root that is moved below it: `..` knows no
/// end then. See chroot(2).
fn by_chroot(files: &[HostFile]) -> nix::Result<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let above = open("/", flags, Mode::empty())?;
    let below = format!("/below.{}", getpid());
    io(fs::create_dir(&below))?;
    chroot(below.as_str())?;
    fchdir(above.as_fd())?;
    for _ in 0..64 {
        chdir("..")?;
    }
    chroot(".")?;
    io(fs::remove_dir(&below)).ok();
    Ok(can_see(files))
}

/// With the uppermost root gone, a new look at one's own namespace begins at
/// what was below it.
fn by_umount(files: &[HostFile]) -> nix::Result<bool> {
    let own = open("/proc/self/ns/mnt", OFlag::O_RDONLY, Mode::empty())?;
    // Another namespace, so that the others keep their root.
    unshare(CloneFlags::CLONE_NEWNS)?;
    let copy = open("/proc/self/ns/mnt", OFlag::O_RDONLY, Mode::empty())?;
    drop(own);
    umount2("/", MntFlags::MNT_DETACH)?;
    setns(copy.as_fd(), CloneFlags::CLONE_NEWNS)?;
    Ok(can_see(files))
}

fn by_umounts(files: &[HostFile]) -> nix::Result<bool> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    for _ in 0..3 {
        if umount2("/", MntFlags::MNT_DETACH).is_err() {
            break;
        }
        chdir("/")?;
        if is_above(Path::new("/"), files) {
            return Ok(true);
        }
    }
    Ok(false)
}
