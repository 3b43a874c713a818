//! Where a student's program runs: in namespaces of its own, which it may take
//! for a whole machine. It is root there and nobody outside, it can rename and
//! mount and kill what it likes, and everything ends with it.
//!
//! In there `/` is a shared mount, as systemd makes it: a step that forgets
//! `make_private` shows it, and reaches no further than this.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fmt,
    fs::{self, File},
    io::{ErrorKind, Read, Seek, Write},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use ground::processes::{self, Stat};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::{
            SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise,
            sigaction, signal,
        },
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{
        ForkResult, Gid, Pid, Uid, chdir, dup2_stdin, fork, getegid, geteuid,
        pipe2, setgroups, sethostname, setresgid, setresuid, setsid,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    bench::Bench,
    build::{memory_file, text_of},
    check::Verdict,
    checks::{self, NotHere},
    filter,
    limits::Cgroup,
    root::{self, Files},
};

/// Who root of a sandbox is outside, when real root has made it: nobody. The
/// group after this one is in it, too.
const OUTSIDE: u32 = 1_000_000;

/// How long a script may take. Emulation is slow: `LAB_TIME_FACTOR` times as
/// long.
const LIMIT: Duration = Duration::from_secs(10);

/// What a script may use: processes, bytes of memory and of a file, seconds of
/// processor time.
const LIMITS: [(Resource, u64); 5] = [
    (Resource::RLIMIT_NPROC, PROCESSES),
    (Resource::RLIMIT_AS, 4 << 30),
    (Resource::RLIMIT_FSIZE, 256 << 20),
    (Resource::RLIMIT_CPU, 60),
    (Resource::RLIMIT_CORE, 0),
];

const PROCESSES: u64 = 250;

/// What is kept of the output, in bytes: a check says all that it has heard.
const OUTPUT: u64 = 1 << 20;

/// Tells the other side which cgroups were made for it.
const CGROUPS: &str = "LAB_CGROUPS";

/// How many times as long all may take as on this machine.
const TIME_FACTOR: &str = "LAB_TIME_FACTOR";

/// What became of a script.
pub struct Finished {
    /// What it said.
    pub stdout: String,
    /// What it said of errors.
    pub stderr: String,
    /// Why it had to be ended, or what it has left behind.
    pub trouble: Option<String>,
    /// It had to be ended.
    pub took_too_long: bool,
}

/// Runs a shell script next to the program that it can call `$STEP`.
///
/// # Errors
/// This machine refuses the sandbox.
pub fn run(
    program: &Path,
    script: &str,
    variables: &[(String, String)],
) -> anyhow::Result<Finished> {
    start(program, &["script", script], variables)
}

/// Makes a check of the program: see [`checks`]. What is said is a [`Finding`]
/// in JSON.
///
/// # Errors
/// This machine refuses the sandbox.
pub fn check(
    program: &Path,
    check: &str,
    filled: &str,
) -> anyhow::Result<Finished> {
    start(program, &["check", check, filled], &[])
}

/// What a check has found.
#[derive(Deserialize, Serialize)]
pub struct Finding {
    /// Whether it has passed.
    pub verdict: Verdict,
    /// What is wrong.
    pub says: String,
    /// What the programs have said of errors.
    pub heard: String,
}

fn start(
    program: &Path,
    what: &[&str],
    variables: &[(String, String)],
) -> anyhow::Result<Finished> {
    be_told_of_the_end();
    let (out, err, report) = (memory_file()?, memory_file()?, memory_file()?);
    let cgroup = match geteuid().is_root() {
        true => Cgroup::create(OUTSIDE)?,
        false => Cgroup::create_delegated()?,
    };
    let cgroups: Vec<&OsStr> =
        cgroup.directories().map(Path::as_os_str).collect();
    // No name of a cgroup has a line break in it.
    let cgroups = cgroups.join(OsStr::new("\n"));
    let mut child = Command::new("/proc/self/exe")
        .args(["in-sandbox".as_ref(), program.as_os_str()])
        .arg("--")
        .args(what)
        .env_clear()
        .env(CGROUPS, cgroups)
        .env(TIME_FACTOR, time_factor().to_string())
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .envs(variables.iter().cloned())
        // Where nothing of the script gets to: see `Report`.
        .stdin(report.try_clone()?)
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?)
        .spawn()
        .context("starting a sandbox")?;
    let mut guard = Guard(&mut child);
    let started = has_stopped(Pid::from_raw(guard.pid()))?;
    if started {
        cgroup.take(guard.pid())?;
        resume(guard.pid())?;
    }
    let (status, ended) = guard.wait()?;
    let (stderr, report) = (text_of(err, OUTPUT)?, text_of(report, OUTPUT)?);
    if let Some(why) = report.strip_prefix(REFUSED) {
        bail!("this machine refuses a sandbox: {why}");
    }
    ensure!(started, "a sandbox has ended, {status}: {}", stderr.trim());
    let trouble = match report.is_empty() {
        true if status.success() => None,
        // A script may end the cgroup that it is in, and us with it.
        true => Some(format!("the sandbox has ended, {status}")),
        false => Some(report),
    };
    let cgroups = cgroup.leftovers();
    let cgroups = (!cgroups.is_empty())
        .then(|| format!("it has left {} behind", cgroups.join(", ")));
    Ok(Finished {
        stdout: text_of(out, OUTPUT)?,
        stderr,
        took_too_long: ended.is_some(),
        trouble: ended.or(trouble).or(cgroups),
    })
}

/// The sandbox's process, which is killed with this value.
struct Guard<'a>(&'a mut Child);

impl Guard<'_> {
    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// Waits for the end, and says why, if it had to be brought about.
    fn wait(&mut self) -> anyhow::Result<(ExitStatus, Option<String>)> {
        let start = Instant::now();
        let factor = time_factor();
        let mut ended = None;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok((status, ended));
            }
            // Whatever was made is removed on the way out.
            ensure!(!is_interrupted(), "interrupted");
            if ended.is_none() && start.elapsed() > LIMIT * factor {
                let count = family(self.pid()).len() - 1;
                ended = Some(match count as u64 > PROCESSES / 2 {
                    true => format!("a fork bomb: {count} processes"),
                    false => format!(
                        "it was still running after {:?}: an endless loop, or \
                         it waits for what never comes",
                        LIMIT * factor
                    ),
                });
                self.0.kill()?;
            }
            sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many times as long all may take as on this machine: emulation is slow.
pub fn time_factor() -> u32 {
    let factor = env::var(TIME_FACTOR).ok();
    factor.and_then(|it| it.parse().ok()).unwrap_or(1)
}

/// Somebody wants us to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether somebody wants us to end.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// From now on a Ctrl-C is only noted: there are cgroups to be removed first.
fn be_told_of_the_end() {
    let handler = SigHandler::Handler(on_interrupt);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler sets a flag, and does nothing else.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// Ends `pid`, a child of ours, and all that descend from it. The first is
/// stopped before the others are looked for, so that it starts no more of them.
pub fn kill_family(pid: i32) {
    // They fail only for a process that is gone already.
    let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
    for pid in family(pid) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The process `pid`, and all that descend from it.
fn family(pid: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = processes::all()
        .filter_map(|child| Some((child, Stat::of(child)?.parent)))
        .collect();
    let mut family: Vec<i32> = vec![pid];
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        let children = parents.iter().filter(|(_, of)| *of == parent);
        family.extend(children.map(|(child, _)| *child));
        at += 1;
    }
    family
}

/// What went wrong with a sandbox: empty, if nothing did. What the script can
/// write to is no place for it.
struct Report(File);

/// Begins a report that says: there is no sandbox.
const REFUSED: &str = "refused: ";

impl Report {
    /// The one that `run` reads. It is where a program has its input, so that
    /// whoever becomes the script has to have another one.
    fn open() -> anyhow::Result<Report> {
        let file = std::io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Report(file.into()))
    }

    fn add(&self, text: impl fmt::Display) -> anyhow::Result<()> {
        // Who reads it waits for our end.
        (&self.0).write_all(text.to_string().as_bytes())?;
        Ok(())
    }
}

/// The other side: becomes a sandbox, and does in it what it was started for.
/// Returns the exit code.
pub fn enter(program: &Path, what: &[String]) -> i32 {
    let made = leave_descriptors().and_then(|()| Report::open());
    let made = made.and_then(|report| {
        let made = make(program, what, &report);
        made.or_else(|error| report.add(format!("{REFUSED}{error:#}")))
    });
    i32::from(made.is_err())
}

fn make(
    program: &Path,
    what: &[String],
    report: &Report,
) -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Process groups and terminals cross all namespaces: kill(0) would end the
    // checker, and /dev/tty read what is typed.
    setsid().context("setsid()")?;
    leave_keyring()?;
    // Now: it may be where the new root will be mounted.
    let program_file =
        File::open(program).with_context(|| format!("open({program:?})"))?;
    // Until we are in our cgroup, and whatever we start as well.
    raise(Signal::SIGSTOP).context("raise(SIGSTOP)")?;

    let is_root = geteuid().is_root();
    match is_root {
        true => setgroups(&[]).context("setgroups([])")?,
        false => become_root()?,
    }
    // Mounts that were made before the user namespace of the script can't be
    // taken away in there.
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET;
    unshare(flags).context("unshare(CLONE_NEWNS|CLONE_NEWPID|…)")?;
    propagation(MsFlags::MS_PRIVATE)?;
    let owner = if is_root { OUTSIDE } else { 0 };
    let init = (program, program_file);
    // Held until we end.
    let (gate, held) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let (gate, held) = (File::from(gate), Cell::new(Some(held)));
    let init = fork_to(report, || {
        drop(held.take());
        end_with(&gate)?;
        be_init(init, owner, what, report)
    })?;
    let (_, status) = wait4(init, 0)?;
    // A program may bring it about that the kernel kills this one.
    match status {
        0 => Ok(()),
        _ => report.add(format!("its first process has ended: {status:#x}")),
    }
}

/// Closes what the caller had open, and has not closed for its children: through
/// a descriptor one gets to what no path leads to. See close_range(2).
fn leave_descriptors() -> anyhow::Result<()> {
    // SAFETY: nothing in this program has opened one of them.
    let closed =
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    Errno::result(closed).map(drop).context("close_range(3, …)")
}

/// A login keeps keys in there for disks and servers, and who possesses a key may
/// use it, whoever it is. See session-keyring(7).
fn leave_keyring() -> anyhow::Result<()> {
    let none = std::ptr::null::<libc::c_char>();
    let option = libc::KEYCTL_JOIN_SESSION_KEYRING;
    // SAFETY: no pointer is given.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, option, none) };
    match Errno::result(joined) {
        // There are none, or a sandbox around refuses them to all in it.
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        joined => joined
            .map(drop)
            .context("keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)"),
    }
}

/// Makes a plain user root of a user namespace.
fn become_root() -> anyhow::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER).context("unshare(CLONE_NEWUSER)")?;
    let groups = ("deny", 1);
    map("self", (uid, gid), groups)
}

/// Says who root of the user namespace of `process` is outside. Where it may set
/// its groups there can be more than one.
fn map(
    process: &str,
    (uid, gid): (u32, u32),
    (setgroups, groups): (&str, u32),
) -> anyhow::Result<()> {
    for (file, text) in [
        ("setgroups", setgroups.to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} {groups}")),
    ] {
        let path = format!("/proc/{process}/{file}");
        fs::write(&path, text).with_context(|| format!("write({path:?})"))?;
    }
    Ok(())
}

/// Does `work` in a child, and reports it if that fails.
fn fork_to(
    report: &Report,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Pid> {
    // SAFETY: this program has one thread.
    match unsafe { fork() }.context("fork()")? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let done = work()
                .or_else(|error| report.add(format!("{REFUSED}{error:#}")));
            // SAFETY: _exit(2) has no preconditions.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
    }
}

/// From now on this process ends with its parent, who holds the other end of
/// `gate`: it has ended before, if nobody does.
fn end_with(mut gate: &File) -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    match gate.read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        _ => bail!("whoever has started it has ended"),
    }
}

/// The first process of the sandbox. It is outside of the user namespace of the
/// script, so that nobody in there can trace it or see what it has open, not even
/// where both are the same user. See ptrace(2), "Ptrace access mode checking".
fn be_init(
    program: (&Path, File),
    owner: u32,
    what: &[String],
    report: &Report,
) -> anyhow::Result<()> {
    let cgroups = env::var_os(CGROUPS).unwrap_or_default();
    let cgroups = cgroups.as_bytes().split(|byte| *byte == b'\n');
    let cgroups: Vec<&Path> = cgroups
        .map(|path| Path::new(OsStr::from_bytes(path)))
        .collect();
    let files = root::enter(program, owner, &cgroups)?;

    let child = fork_to(report, || be_script(files, what))?;
    if !has_stopped(child)? {
        return Ok(());
    }
    // A plain user may map one group, if nobody leaves one there.
    let groups = if owner == 0 {
        ("deny", 1)
    } else {
        ("allow", 2)
    };
    map(&child.to_string(), (owner, owner), groups)?;
    resume(child.as_raw())?;
    if !has_stopped(child)? {
        return Ok(());
    }
    // These are the mounts of the script, even when it has ended.
    let path = format!("/proc/{child}/mountinfo");
    let mut mounts =
        File::open(&path).with_context(|| format!("open({path:?})"))?;
    let before = text_from_start(&mut mounts)?;
    resume(child.as_raw())?;
    if let Some(signal) = reap_until_end_of(child)? {
        report.add(format!("the script was killed by signal {signal}"))?;
    }
    end_all()?;
    let after = text_from_start(&mut mounts)?;
    let left: BTreeSet<&str> = after
        .lines()
        .filter(|line| !before.contains(line))
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    if let Some(first) = left.first() {
        let count = left.len();
        report.add(format!(
            "left behind: mounted outside: {first} ({count} in all)"
        ))?;
    }
    Ok(())
}

/// Waits for the end of `child`, and for all orphans: they become our children.
/// Returns the signal that it died of.
fn reap_until_end_of(child: Pid) -> anyhow::Result<Option<libc::c_int>> {
    let any = Pid::from_raw(-1);
    loop {
        let (pid, status) = wait4(any, 0)?;
        if pid == child {
            let signal = libc::WTERMSIG(status);
            return Ok(libc::WIFSIGNALED(status).then_some(signal));
        }
    }
}

/// Ends all other processes of the sandbox: what they leave is all that they will
/// ever leave.
fn end_all() -> anyhow::Result<()> {
    let any = Pid::from_raw(-1);
    match kill(any, Signal::SIGKILL) {
        Err(Errno::ESRCH) => {}
        done => done.context("kill(-1, SIGKILL)")?,
    }
    loop {
        match wait4(any, 0) {
            Err(error) if error.downcast_ref() == Some(&Errno::ECHILD) => {
                return Ok(());
            }
            waited => drop(waited?),
        }
    }
}

/// The process that becomes the script, or makes a check. It stops twice: until
/// its ids are mapped, and when all of its mounts are there.
fn be_script(files: Files, what: &[String]) -> anyhow::Result<()> {
    let flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET;
    unshare(flags).context("unshare(CLONE_NEWUSER|CLONE_NEWNS|…)")?;
    raise(Signal::SIGSTOP).context("raise(SIGSTOP)")?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).context("setresgid(0, 0, 0)")?;
    setresuid(uid, uid, uid).context("setresuid(0, 0, 0)")?;
    if fs::read("/proc/self/setgroups").is_ok_and(|text| text == b"allow\n") {
        // One to be left: see the lab of step 6.
        setgroups(&[Gid::from_raw(1)]).context("setgroups([1])")?;
    }
    propagation(MsFlags::MS_SHARED)?;
    sethostname("outside").context("sethostname()")?;
    raise(Signal::SIGSTOP).context("raise(SIGSTOP)")?;

    for (resource, limit) in LIMITS {
        setrlimit(resource, limit, limit).context("setrlimit()")?;
    }
    heed_signals()?;
    filter::install()?;
    // The report is no input of anybody in there.
    dup2_stdin(File::open("/dev/null")?).context("dup2(0)")?;
    chdir("/tmp").context(r#"chdir("/tmp")"#)?;
    match what {
        [kind, script] if kind == "script" => become_shell(&files, script),
        [kind, check, filled] if kind == "check" => {
            make_check(files, check, filled)
        }
        _ => bail!("it is not said what to do"),
    }
}

/// nohup(1), or a shell that has put the grader in the background, has it ignore
/// some signals. A program that is tried would inherit that, and lose the points
/// for what it does with them.
fn heed_signals() -> anyhow::Result<()> {
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: it is the default, so no function of ours is called.
        unsafe { signal(ignored, SigHandler::SigDfl) }
            .with_context(|| format!("signal({ignored}, SIG_DFL)"))?;
    }
    Ok(())
}

fn become_shell(files: &Files, script: &str) -> anyhow::Result<()> {
    let error = Command::new("sh")
        .args(["-c", script])
        .env("STEP", &files.program)
        .env("HOME", "/tmp")
        .env_remove(CGROUPS)
        .env_remove(TIME_FACTOR)
        .exec();
    Err(error).context("starting a shell")
}

/// Makes the check in this process, and says what it has found.
fn make_check(files: Files, name: &str, filled: &str) -> anyhow::Result<()> {
    // Who is not dumpable can't be traced, and shows no descriptor, to the root
    // of this sandbox: so nobody speaks in the place of a check. See ptrace(2).
    prctl::set_dumpable(false)?;
    let check = checks::find(name)?;
    let bench = Bench::new(files, filled.to_owned());
    let result = check(&bench);
    let (verdict, says) = match &result {
        Ok(()) => (Verdict::Passed, String::new()),
        Err(error) if error.is::<NotHere>() => {
            (Verdict::NotRun, format!("{error:#}"))
        }
        Err(error) => (Verdict::Failed, format!("{error:#}")),
    };
    let heard = bench.heard();
    let finding = Finding {
        verdict,
        says,
        heard,
    };
    print!("{}", serde_json::to_string(&finding)?);
    std::io::stdout().flush()?;
    Ok(())
}

/// Waits until `child` has stopped itself. False if it has ended; its status is
/// still to be waited for. See waitid(2), `WNOWAIT`.
fn has_stopped(child: Pid) -> anyhow::Result<bool> {
    let flags =
        WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    let status = waitid(Id::Pid(child), flags).context("waitid()")?;
    Ok(matches!(status, WaitStatus::Stopped(..)))
}

fn resume(pid: i32) -> anyhow::Result<()> {
    kill(Pid::from_raw(pid), Signal::SIGCONT).context("kill(SIGCONT)")
}

fn text_from_start(file: &mut File) -> anyhow::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Waits for `child`, and returns which one it was and its status: as a number,
/// since a signal of real time, which has no name, may have ended it.
fn wait4(child: Pid, flags: libc::c_int) -> anyhow::Result<(Pid, libc::c_int)> {
    let mut status = 0;
    // SAFETY: the call fills an integer, and takes no other pointer.
    let pid = unsafe { libc::waitpid(child.as_raw(), &raw mut status, flags) };
    let pid = Errno::result(pid).context("wait4()")?;
    Ok((Pid::from_raw(pid), status))
}

fn propagation(how: MsFlags) -> anyhow::Result<()> {
    let flags = MsFlags::MS_REC | how;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context(r#"mount(NULL, "/", MS_REC)"#)
}
