//! Where a program is looked at: started with the checker's own `agent` as its
//! command, and seen through `/proc` from outside of the container.
#![allow(unsafe_code)]

use std::{
    cell::RefCell,
    ffi::CString,
    fs::{self, File},
    io::{ErrorKind, IoSliceMut, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt, fs::FileExt, net::UnixStream, process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    rc::Rc,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use ground::processes::{self, Stat};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sched::{CloneFlags, unshare},
    sys::{
        signal::{Signal, kill},
        socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt},
        stat::stat,
    },
    unistd::{Pid, pipe2, write},
};

use crate::{
    agent::{HELLO, REFUSED},
    build::{memory_file, text_of},
    root::Files,
};

/// How long an answer may take, where nothing is in the way.
const PATIENCE: Duration = Duration::from_secs(7);

/// What is kept of what programs say of errors, in bytes: of one program an
/// eighth. In JSON each may take six.
const HEARD: u64 = 128 * 1024;

/// How the name of a variable begins that is for the program alone: see
/// [`holes::mixed`](crate::holes::mixed).
pub const FILLED: &str = "LAB_FILLED";

/// Where one check is made of one program.
pub struct Bench {
    /// The program.
    pub program: PathBuf,
    /// Our agent, in the sandbox.
    pub agent: PathBuf,
    /// What it has to be, to the byte: the copy is the sandbox's, and a program
    /// could write to it.
    own: Rc<File>,
    /// The holes that are filled by the solution, for a mixed program.
    pub filled: String,
    /// What the programs have said of errors.
    heard: RefCell<Vec<File>>,
}

/// What became of a program that is no container any more.
pub struct Ended {
    /// Its exit code, or 128 and the number of a signal.
    pub code: i32,
    /// What it has printed.
    pub stdout: String,
}

impl Bench {
    /// For the program of a sandbox.
    pub(crate) fn new(files: Files, filled: String) -> Bench {
        Bench {
            program: files.program,
            agent: files.agent,
            own: Rc::new(files.own),
            filled,
            heard: RefCell::default(),
        }
    }

    /// The same for another program.
    pub(crate) fn with(&self, program: &Path) -> Bench {
        Bench {
            program: program.to_owned(),
            agent: self.agent.clone(),
            own: Rc::clone(&self.own),
            filled: self.filled.clone(),
            heard: RefCell::default(),
        }
    }

    /// What the programs have said of errors so far.
    pub fn heard(&self) -> String {
        let mut text = String::new();
        for file in self.heard.take() {
            let left = HEARD.saturating_sub(text.len() as u64);
            text += &text_of(file, left.min(HEARD / 8)).unwrap_or_default();
        }
        text
    }

    /// An empty place of its own, whose path nobody can guess.
    pub fn place(&self) -> anyhow::Result<PathBuf> {
        let place = PathBuf::from(format!("/tmp/{}", random_name()));
        fs::create_dir(&place)?;
        Ok(place)
    }

    /// A file outside with something in it that is nowhere else.
    pub fn secret(&self) -> anyhow::Result<PathBuf> {
        let secret = self.place()?.join("secret");
        fs::write(&secret, random_name())?;
        Ok(secret)
    }

    /// An image that has nothing in it but our agent and a file: where it is,
    /// and the name and the content of the file.
    pub fn image(&self) -> anyhow::Result<Image> {
        let image = Image {
            path: self.place()?,
            agent: format!("/{}", random_name()),
            mark: format!("/{}", random_name()),
            content: random_name(),
        };
        fs::hard_link(&self.agent, image.inside(&image.agent))
            .context("link()")?;
        fs::write(image.inside(&image.mark), &image.content)?;
        Ok(image)
    }

    /// Starts `run OPTIONS` with the agent at `agent` as the command.
    pub fn start(
        &self,
        options: &[&str],
        agent: &str,
    ) -> anyhow::Result<Container> {
        self.start_by(options, agent, |_| {})
    }

    /// The same, in the directory of an image.
    pub fn start_in(
        &self,
        image: &Image,
        options: &[&str],
    ) -> anyhow::Result<Container> {
        let mut all = vec!["--rootfs", image.path()];
        all.extend(options);
        self.start(&all, &image.agent)
    }

    /// The same, after `change` has changed what is started.
    pub fn start_by(
        &self,
        options: &[&str],
        agent: &str,
        change: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Container> {
        let out = memory_file()?;
        let mut container = self.launch(options, agent, |command| {
            command.stdout(out);
            change(command);
        })?;
        container.pid = container.wait_for_agent(&self.own)?;
        Ok(container)
    }

    /// Starts the program with the agent as its command, which may be heard at
    /// the container's channel; nothing is known of the container yet.
    fn launch(
        &self,
        options: &[&str],
        agent: &str,
        change: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Container> {
        let (ours, theirs) = UnixStream::pair().context("socketpair()")?;
        setsockopt(&ours, sockopt::PassCred, &true)?;
        let (mut command, mounts) = self.command()?;
        command
            .arg("run")
            .args(options)
            .args(["--", agent, "agent"]);
        command.stdin(OwnedFd::from(theirs));
        change(&mut command);
        let child = command.spawn().context("starting the program")?;
        // Our end of the other side has to be closed, too.
        drop(command);
        Ok(Container {
            channel: ours,
            heard: Vec::new(),
            pid: 0,
            child,
            namespaces: namespaces_with(mounts)?,
        })
    }

    /// Whether a container with these options is refused before there is one.
    pub fn refuses(&self, options: &[&str]) -> anyhow::Result<()> {
        let agent = self.agent.to_string_lossy();
        self.refuses_by(options, &agent, |_| {})
    }

    /// The same, after `change` has changed what is started.
    pub fn refuses_by(
        &self,
        options: &[&str],
        agent: &str,
        change: impl FnOnce(&mut Command),
    ) -> anyhow::Result<()> {
        let mut container = self.launch(options, agent, |command| {
            command.stdout(Stdio::null());
            change(command);
        })?;
        if let Ok((pid, _)) = container.hear_first() {
            container.pid = pid;
            bail!("{options:?} is taken: the command was started");
        }
        let code = container.wait()?;
        ensure!(
            code == 125,
            "{options:?} ends with {code}, and not with 125"
        );
        Ok(())
    }

    /// Whether a container with these options begins only when `first` has
    /// ended.
    pub fn waits_for(
        &self,
        first: Container,
        image: &Image,
        options: &[&str],
    ) -> anyhow::Result<()> {
        let mut all = vec!["--rootfs", image.path()];
        all.extend(options);
        let mut second = self.launch(&all, &image.agent, |command| {
            command.stdout(Stdio::null());
        })?;
        // It may be slow, but then it is late for another reason.
        let channel = &second.channel;
        channel.set_read_timeout(Some(Duration::from_millis(700)))?;
        let early = nix::sys::socket::recv(
            channel.as_raw_fd(),
            &mut [0; 8],
            MsgFlags::MSG_PEEK,
        );
        ensure!(
            !matches!(early, Ok(1..)),
            "a second container begins before the first has ended"
        );
        ensure!(
            second.child.try_wait()?.is_none(),
            "a second container is refused, and should wait"
        );
        first.finish(0)?;
        second.pid = second.wait_for_agent(&self.own)?;
        Ok(())
    }

    /// Runs the program with other arguments until it ends.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let out = memory_file()?;
        let (mut command, _mounts) = self.command()?;
        command.args(arguments);
        command.stdin(Stdio::null()).stdout(out.try_clone()?);
        let child = command.spawn().context("starting the program")?;
        let code = wait(child)?;
        Ok(Ended {
            code,
            stdout: text_of(out, 64 * 1024)?,
        })
    }

    /// Also returns what its mount namespace will be said in.
    fn command(&self) -> anyhow::Result<(Command, File)> {
        let err = memory_file()?;
        let mut command = Command::new(&self.program);
        command.current_dir("/tmp").stderr(err.try_clone()?);
        command.env(FILLED, &self.filled);
        self.heard.borrow_mut().push(err);
        // A namespace of its own, whose mounts are those of ours: a step that
        // moves the root of where it is does not take ours away.
        let (mounts, said) = pipe2(OFlag::O_CLOEXEC)?;
        let isolate = move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let number = stat("/proc/self/ns/mnt")?.st_ino;
            write(&said, &number.to_ne_bytes())?;
            Ok(())
        };
        // SAFETY: the calls are async-signal-safe, and nothing is allocated.
        unsafe { command.pre_exec(isolate) };
        Ok((command, mounts.into()))
    }
}

/// A root file system.
pub struct Image {
    path: PathBuf,
    /// Where the agent is in it.
    pub agent: String,
    /// A file in it.
    pub mark: String,
    /// What is in that.
    pub content: String,
}

impl Image {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    /// Where a path of the container is outside.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }
}

/// A container that runs, with our agent in it.
pub struct Container {
    channel: UnixStream,
    /// What has come of the next answer.
    heard: Vec<u8>,
    /// The number of the agent, out here.
    pub pid: i32,
    /// The program, outside of the container.
    child: Child,
    /// Those in which the program has begun: it may go into others itself.
    namespaces: Vec<(String, String)>,
}

/// The kinds of namespaces, as they are called in /proc/PID/ns.
const KINDS: [&str; 7] = ["uts", "pid", "mnt", "user", "net", "ipc", "cgroup"];

/// Those of a program of ours, which has ours, but mounts of its own.
fn namespaces_with(mut mounts: File) -> anyhow::Result<Vec<(String, String)>> {
    let mut number = [0; 8];
    mounts.read_exact(&mut number)?;
    let name = |kind: &&str| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
        let link = match *kind {
            "mnt" => format!("mnt:[{}]", u64::from_ne_bytes(number)),
            _ => link.to_string_lossy().into_owned(),
        };
        Some(((*kind).to_owned(), link))
    };
    Ok(KINDS.iter().filter_map(name).collect())
}

impl Container {
    /// Waits for its first word, and returns who has said it.
    fn wait_for_agent(&mut self, own: &File) -> anyhow::Result<i32> {
        let (pid, text) = self.hear_first()?;
        ensure!(
            text == HELLO,
            "something else than the command has used its standard input"
        );
        let exe = format!("/proc/{pid}/exe");
        ensure!(
            same_content(Path::new(&exe), own)?,
            "what was started is not the command that was asked for, but {:?}",
            fs::read_link(&exe).unwrap_or_default()
        );
        Ok(pid)
    }

    fn hear_first(&mut self) -> anyhow::Result<(i32, String)> {
        let start = Instant::now();
        loop {
            match receive(&self.channel, MsgFlags::MSG_DONTWAIT) {
                Ok(Some((pid, bytes))) => {
                    let text = String::from_utf8_lossy(&bytes);
                    return Ok((pid, text.into_owned()));
                }
                Err(Errno::EAGAIN) if start.elapsed() < patience() => {
                    sleep(Duration::from_millis(1));
                }
                Err(Errno::EAGAIN) => {
                    bail!(
                        "the command was not started in {:?}: an endless loop, \
                         or it waits for what never comes",
                        patience()
                    )
                }
                // Nobody has the other end any more.
                _ => {
                    let code = exit_code(self.child.wait()?);
                    bail!(
                        "the command was not started: the program has ended \
                         with {code}"
                    )
                }
            }
        }
    }

    /// Has the agent do something, and returns what it says: an error is one
    /// answer among others, and begins with `REFUSED`.
    pub fn ask(&mut self, words: &[&str]) -> anyhow::Result<String> {
        self.tell(words)?;
        self.hear()
            .with_context(|| format!("the command was asked for {words:?}"))
    }

    /// As [`Container::ask`], where an error is not expected.
    pub fn must(&mut self, words: &[&str]) -> anyhow::Result<String> {
        let answer = self.ask(words)?;
        match answer.strip_prefix(REFUSED) {
            Some(error) => bail!("{}: {error}", words.join(" ")),
            None => Ok(answer),
        }
    }

    /// Has the agent begin with something.
    pub fn tell(&mut self, words: &[&str]) -> anyhow::Result<()> {
        let request = serde_json::Value::from(words.to_vec());
        writeln!(self.channel, "{request}").context("the command has gone")
    }

    /// The next line, of which each piece has to come from the command itself:
    /// others of the program have its channel, too.
    pub(crate) fn hear(&mut self) -> anyhow::Result<String> {
        let start = Instant::now();
        loop {
            if let Some(end) = self.heard.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                ensure!(
                    has_its_own_code(self.pid)?,
                    "the code of the command has been changed while it ran"
                );
                return Ok(serde_json::from_slice(&line)?);
            }
            let left = patience().saturating_sub(start.elapsed());
            ensure!(!left.is_zero(), "it does not answer");
            self.channel.set_read_timeout(Some(left))?;
            let flags = MsgFlags::empty();
            let (pid, bytes) = receive(&self.channel, flags)
                .context("it does not answer")?
                .context("it has ended")?;
            ensure!(
                pid == self.pid,
                "somebody else has answered in its place, process {pid}"
            );
            self.heard.extend(bytes);
        }
    }

    /// Has the command exit, and returns what the program ends with.
    pub fn finish(mut self, code: u8) -> anyhow::Result<i32> {
        self.tell(&["exit", &code.to_string()])?;
        self.wait()
    }

    /// Waits for the end of the program, and returns its exit code.
    pub fn wait(&mut self) -> anyhow::Result<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(exit_code(status));
            }
            ensure!(
                start.elapsed() < patience(),
                "the command has ended, and the program goes on"
            );
            sleep(Duration::from_millis(1));
        }
    }

    /// The number of the program itself.
    #[must_use]
    pub fn outside(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Ends the program alone, as kill -9 does.
    pub fn kill_program(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether the agent is in a namespace of its own of this `kind`, which is
    /// made by `flag`.
    pub fn has_own(&self, kind: &str, flag: &str) -> anyhow::Result<()> {
        let own = fs::read_link(format!("/proc/{}/ns/{kind}", self.pid))
            .context("the command has gone")?;
        let own = own.to_string_lossy();
        let outside = self.namespaces.iter().find(|(it, _)| it == kind);
        let (_, outside) = outside.context("the program has gone")?;
        let ours = fs::read_link(format!("/proc/self/ns/{kind}"))?;
        ensure!(
            own != *outside && own != ours.to_string_lossy(),
            "the command is in the {kind} namespace of its parent, {own}: \
             nothing has made another one ({flag})"
        );
        Ok(())
    }

    /// A file of the agent in `/proc`.
    pub fn proc_file(&self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.pid);
        fs::read_to_string(&path).with_context(|| format!("reading {path}"))
    }

    /// A field of the agent's `status`, its blanks as one each.
    pub fn status(&self, field: &str) -> anyhow::Result<String> {
        status_of(self.pid, field)
    }

    /// Where a path of the container can be reached from outside.
    #[must_use]
    pub fn at(&self, path: &str) -> PathBuf {
        let path = path.trim_start_matches('/');
        PathBuf::from(format!("/proc/{}/root/{path}", self.pid))
    }

    /// The container's process number 1, out here.
    pub fn init(&self) -> anyhow::Result<i32> {
        let mut pid = self.pid;
        for _ in 0..16 {
            let numbers = status_of(pid, "NSpid")?;
            let depth = numbers.split(' ').count();
            if depth > own_depth()? && numbers.ends_with(" 1") {
                return Ok(pid);
            }
            pid = Stat::of(pid).context("a process has gone")?.parent;
            if pid <= 1 {
                break;
            }
        }
        bail!("no process above the command is number 1 of its PID namespace")
    }

    /// The processes that are in the agent's PID namespace.
    pub fn processes(&self) -> Vec<i32> {
        let own = fs::read_link(format!("/proc/{}/ns/pid", self.pid)).ok();
        let own = |pid: &i32| {
            let link = fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
            link.is_some() && link == own
        };
        processes::all().filter(own).collect()
    }
}

/// What comes next, and who has said it, as the kernel knows it; `None` when
/// nobody has the other end any more. See unix(7), SCM_CREDENTIALS.
fn receive(
    channel: &UnixStream,
    flags: MsgFlags,
) -> nix::Result<Option<(i32, Vec<u8>)>> {
    let mut bytes = vec![0; 4096];
    let mut control = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(
        channel.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        flags,
    )?;
    let count = message.bytes;
    if count == 0 {
        return Ok(None);
    }
    let pid = message.cmsgs()?.find_map(|it| match it {
        ControlMessageOwned::ScmCredentials(it) => Some(it.pid()),
        _ => None,
    });
    bytes.truncate(count);
    Ok(Some((pid.ok_or(Errno::ENOMSG)?, bytes)))
}

impl Drop for Container {
    /// Ends the command, and waits for the program to clean up.
    fn drop(&mut self) {
        if self.pid > 0 {
            // It may have gone already.
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
            if self.wait().is_ok() {
                return;
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In how many PID namespaces we are ourselves.
fn own_depth() -> anyhow::Result<usize> {
    let own = std::process::id().cast_signed();
    Ok(status_of(own, "NSpid")?.split(' ').count())
}

/// A field of `/proc/PID/status`, its blanks as one each.
pub fn status_of(pid: i32, field: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .context("a process has gone")?;
    let line = text.lines().find_map(|line| {
        line.strip_prefix(field)?
            .strip_prefix(':')
            .map(str::to_owned)
    });
    let line = line.with_context(|| format!("no {field} in its status"))?;
    Ok(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn patience() -> Duration {
    PATIENCE * crate::sandbox::time_factor()
}

fn wait(mut child: Child) -> anyhow::Result<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(exit_code(status));
        }
        if start.elapsed() > patience() {
            child.kill()?;
            child.wait()?;
            bail!("the program has not ended in {:?}", patience());
        }
        sleep(Duration::from_millis(1));
    }
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let by_signal = || 128 + status.signal().unwrap_or(0);
    status.code().unwrap_or_else(by_signal)
}

/// Has a program inherit a descriptor of ours, with a number that is as high as
/// most limits allow.
pub fn hand_on(command: &mut Command, descriptor: i32) {
    let number = i32::try_from(random_in(900..1000));
    let number = number.expect("it is below 1000");
    let hand_on = move || {
        // SAFETY: dup2(2) is async-signal-safe.
        let number = unsafe { libc::dup2(descriptor, number) };
        Ok(Errno::result(number).map(drop)?)
    };
    // SAFETY: as above, and nothing is allocated.
    unsafe { command.pre_exec(hand_on) };
}

/// Covers a directory by an empty one, for a program alone.
pub fn cover(command: &mut Command, directory: &Path) -> anyhow::Result<()> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let cover = move || {
        let nothing = std::ptr::null();
        let flags = libc::MS_REC | libc::MS_SLAVE;
        let root = c"/".as_ptr();
        // SAFETY: mount(2) is async-signal-safe, and the strings have an end.
        let done = unsafe {
            libc::mount(nothing, root, nothing, flags, nothing.cast())
        };
        Errno::result(done)?;
        let (kind, path) = (c"tmpfs".as_ptr(), path.as_ptr());
        // SAFETY: as above.
        let done = unsafe { libc::mount(kind, path, kind, 0, nothing.cast()) };
        Ok(Errno::result(done).map(drop)?)
    };
    // SAFETY: as above, and nothing is allocated.
    unsafe { command.pre_exec(cover) };
    Ok(())
}

/// Takes from a program's addresses that they are random, as setarch(8) does.
pub fn make_predictable(command: &mut Command) {
    let change = || {
        // SAFETY: the call takes a number.
        let done = unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as _) };
        Ok(Errno::result(done).map(drop)?)
    };
    // SAFETY: personality(2) is async-signal-safe, and nothing is allocated.
    unsafe { command.pre_exec(change) };
}

/// Whether a process runs nothing but what is in its file. The program around it
/// is its root, and may write to its memory; a page of code that was written to
/// belongs to no file any more, and is `Anonymous`. See proc(5), `smaps`.
fn has_its_own_code(pid: i32) -> anyhow::Result<bool> {
    let text = match fs::read_to_string(format!("/proc/{pid}/smaps")) {
        // It was told to end, or a kernel is built without this file.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        text => text.context("reading the smaps of the command")?,
    };
    let mut is_code = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        // `400000-4f0000 r-xp …` begins a mapping; `Anonymous: 0 kB` is of it.
        match (words.next(), words.next()) {
            (Some("Anonymous:"), Some(size)) if is_code && size != "0" => {
                return Ok(false);
            }
            (Some(first), Some(permissions)) if !first.ends_with(':') => {
                is_code = permissions.contains('x');
            }
            _ => {}
        }
    }
    Ok(true)
}

/// Whether there is the same in these, to the byte.
fn same_content(path: &Path, other: &File) -> anyhow::Result<bool> {
    let Ok(file) = File::open(path) else {
        return Ok(false);
    };
    let length = other.metadata()?.len();
    if file.metadata()?.len() != length {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < length {
        let count = usize::try_from(length - at)?.min(a.len());
        file.read_exact_at(&mut a[..count], at)?;
        other.read_exact_at(&mut b[..count], at)?;
        if a[..count] != b[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

/// A number that nobody knows before.
#[must_use]
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the kernel fills as many bytes as there are.
    let count =
        unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert!(count == 8, "getrandom() fills eight bytes at once");
    u64::from_ne_bytes(bytes)
}

/// A name that nobody knows before.
#[must_use]
pub fn random_name() -> String {
    format!("x{:016x}", random())
}

/// A number that nobody knows before, in a range.
#[must_use]
pub fn random_in(range: std::ops::Range<u64>) -> u64 {
    range.start + random() % (range.end - range.start)
}
