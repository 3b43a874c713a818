//! Where a student's program runs: in namespaces of its own, which it may take
//! for a whole machine. It is root there and nobody outside, it can rename and
//! mount and kill what it likes, and everything ends with it.
//!
//! In there `/` is a shared mount, as systemd makes it: a step that forgets
//! `make_private` shows it, and reaches no further than this.
#![allow(unsafe_code)]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use ground::processes::{self, Stat};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::{
            SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise,
            sigaction,
        },
    },
    unistd::{
        ForkResult, Gid, Pid, Uid, chdir, fork, getegid, geteuid, setgroups,
        sethostname, setresgid, setresuid, setsid,
    },
};

use serde::{Deserialize, Serialize};

use crate::{
    bench::Bench,
    build::{checkout, memory_file, target_of, text_of},
    check::Verdict,
    checks::{self, NotHere},
    limits::Cgroup,
    read_only::make_all_read_only,
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

/// What is kept of the output.
const OUTPUT: u64 = 64 * 1024;

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

/// Runs a shell script.
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

/// Makes a check of the program: see [`checks`](crate::checks). What is said is
/// a [`Finding`] in JSON.
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
    let (out, err) = (memory_file()?, memory_file()?);
    let owner = match geteuid().is_root() {
        true => (OUTSIDE, OUTSIDE),
        false => (geteuid().as_raw(), getegid().as_raw()),
    };
    let cgroup = match geteuid().is_root() {
        true => Some(Cgroup::create(owner.0)?),
        false => None,
    };
    // It has to know what to hide.
    let places = ["CARGO_TARGET_DIR", "TMPDIR"];
    let places = places.map(|name| Some((name, std::env::var_os(name)?)));
    let places = places.into_iter().flatten();
    let mut child = Command::new("/proc/self/exe")
        .args(["in-sandbox".as_ref(), program.as_os_str()])
        .arg("--")
        .args(what)
        .env_clear()
        .envs(places)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?)
        .spawn()
        .context("starting a sandbox")?;
    let mut guard = Guard(&mut child);
    let ended = guard.open_gate(owner, cgroup.as_ref())?;
    let (status, ended) = match ended {
        Some(_) => bail!("{}", text_of(err, OUTPUT)?.trim()),
        None => guard.wait()?,
    };
    let stderr = text_of(err, OUTPUT)?;
    if status.code() == Some(REFUSED) {
        bail!("{}", stderr.trim());
    }
    let (stderr, trouble) = match stderr.split_once(TROUBLE) {
        Some((stderr, trouble)) => {
            (stderr.to_owned(), Some(trouble.trim().to_owned()))
        }
        None => (stderr, None),
    };
    let cgroups = cgroup.map(|it| it.leftovers()).unwrap_or_default();
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

    /// Waits until the process has its user namespace, and says who it is. The
    /// exit status is that of one that has ended instead.
    fn open_gate(
        &mut self,
        (uid, gid): (u32, u32),
        cgroup: Option<&Cgroup>,
    ) -> anyhow::Result<Option<()>> {
        let pid = Pid::from_raw(self.pid());
        let (_, status) = wait4(pid, libc::WUNTRACED)?;
        if !libc::WIFSTOPPED(status) {
            return Ok(Some(()));
        }
        let root = geteuid().is_root();
        // A plain user may map one group, if nobody leaves one there.
        let groups = if root { 2 } else { 1 };
        for (file, text) in [
            ("setgroups", if root { "allow" } else { "deny" }.to_owned()),
            ("uid_map", format!("0 {uid} 1")),
            ("gid_map", format!("0 {gid} {groups}")),
        ] {
            let path = format!("/proc/{pid}/{file}");
            fs::write(&path, text)
                .with_context(|| format!("write({path:?})"))?;
        }
        if let Some(cgroup) = cgroup {
            cgroup.take(self.pid())?;
        }
        kill(pid, Signal::SIGCONT).context("kill(SIGCONT)")?;
        Ok(None)
    }

    /// Waits for the end, and says so if it had to be brought about.
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
    let factor = std::env::var("LAB_TIME_FACTOR").ok();
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

/// The exit code that says: there is no sandbox.
const REFUSED: i32 = 99;

/// Begins the report on what was left behind.
const TROUBLE: &str = "\n-- trouble: ";

/// The other side: becomes a sandbox, and does in it what it was started for.
/// Returns the exit code.
pub fn enter(program: &Path, what: &[String]) -> i32 {
    match make(program, what) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("this machine refuses a sandbox: {error:#}");
            REFUSED
        }
    }
}

fn make(program: &Path, what: &[String]) -> anyhow::Result<i32> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Process groups and terminals cross all namespaces: kill(0) would end the
    // checker, and /dev/tty read what is typed.
    setsid().context("setsid()")?;
    // Now: it may be where nobody but us can go.
    let program_file =
        File::open(program).with_context(|| format!("open({program:?})"))?;
    if geteuid().is_root() {
        setgroups(&[]).context("setgroups([])")?;
    }
    // What is mounted before the user namespace is made can't be taken away in
    // there. Only root can do that; or root of another user namespace.
    let hidden = match hide() {
        Err(error) if error.downcast_ref() == Some(&Errno::EPERM) => false,
        done => done.map(|()| true)?,
    };
    unshare(CloneFlags::CLONE_NEWUSER).context("unshare(CLONE_NEWUSER)")?;
    raise(Signal::SIGSTOP).context("raise(SIGSTOP)")?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).context("setresgid(0, 0, 0)")?;
    setresuid(uid, uid, uid).context("setresuid(0, 0, 0)")?;
    if !hidden {
        hide()?;
        // The change of ids has closed our own /proc/self. See prctl(2).
        prctl::set_dumpable(true)?;
        let flags = CloneFlags::CLONE_NEWUSER;
        unshare(flags).context("unshare(CLONE_NEWUSER)")?;
        for (file, text) in [
            ("setgroups", "deny"),
            ("uid_map", "0 0 1"),
            ("gid_map", "0 0 1"),
        ] {
            let path = format!("/proc/self/{file}");
            fs::write(&path, text)
                .with_context(|| format!("write({path:?})"))?;
        }
    }
    if fs::read("/proc/self/setgroups").is_ok_and(|text| text == b"allow\n") {
        // One to be left: see the lab of step 6.
        setgroups(&[Gid::from_raw(1)]).context("setgroups([1])")?;
    }
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET,
    )
    .context("unshare(CLONE_NEWNS|CLONE_NEWPID|…)")?;
    // SAFETY: this program has one thread.
    match unsafe { fork() }.context("fork()")? {
        ForkResult::Child => {
            let code = be_init(program, program_file, what);
            let code = code.unwrap_or_else(|error| {
                eprintln!("this machine refuses a sandbox: {error:#}");
                REFUSED
            });
            std::io::stderr().flush()?;
            // SAFETY: _exit(2) has no preconditions.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            let (_, status) = wait4(child, 0)?;
            match libc::WIFEXITED(status) {
                true => Ok(libc::WEXITSTATUS(status)),
                false => bail!("its first process has ended: {status:#x}"),
            }
        }
    }
}

/// Makes read-only what is outside, and covers what has the solution in it, as a
/// source or compiled: a program could show it, or start it in its own place. See
/// mount_namespaces(7), on mounts that are locked.
fn hide() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
    propagation(MsFlags::MS_PRIVATE)?;
    make_all_read_only()?;
    // An open directory, and this is one, leads below what covers it.
    chdir("/").context(r#"chdir("/")"#)?;
    let top = checkout();
    // And where other submissions may be.
    let others = ["/home", "/root", "/autograder", "/dev/shm"].map(Path::new);
    let ours = [&target_of(top), &std::env::temp_dir(), top];
    for directory in ours.into_iter().chain(others) {
        if directory.is_dir() {
            mount_new("tmpfs", directory)?;
        }
    }
    Ok(())
}

/// The first process of the sandbox.
fn be_init(
    program: &Path,
    mut source: File,
    what: &[String],
) -> anyhow::Result<i32> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    propagation(MsFlags::MS_PRIVATE)?;
    mount_new("proc", Path::new("/proc"))?;
    for directory in ["/tmp", "/var/tmp", "/var/cache"] {
        if Path::new(directory).is_dir() {
            mount_new("tmpfs", Path::new(directory))?;
        }
    }
    let name = program.file_name().context("it has no name")?;
    let copy = PathBuf::from("/tmp").join(name);
    let executable = fs::Permissions::from_mode(0o755);
    std::io::copy(&mut source, &mut File::create(&copy)?)?;
    fs::set_permissions(&copy, executable.clone())?;
    let agent = Path::new("/tmp/agent");
    if what.first().is_some_and(|it| it == "check") {
        let mut own = File::open("/proc/self/exe")?;
        std::io::copy(&mut own, &mut File::create(agent)?)?;
        fs::set_permissions(agent, executable)?;
    }
    propagation(MsFlags::MS_SHARED)?;
    sethostname("outside").context("sethostname()")?;
    for (resource, limit) in LIMITS {
        setrlimit(resource, limit, limit).context("setrlimit()")?;
    }

    let mounts = || fs::read_to_string("/proc/self/mountinfo");
    let before = mounts()?;
    // Who is not dumpable can't be traced, and shows no descriptor, to the root
    // of this sandbox: so nobody speaks in the place of a check. See ptrace(2).
    prctl::set_dumpable(false)?;
    let shell = match what {
        [kind, script] if kind == "script" => start_shell(&copy, script)?,
        [kind, check, filled] if kind == "check" => {
            let bench = Bench::new(copy, agent.to_owned(), filled.clone());
            start_check(check, &bench)?
        }
        _ => bail!("it is not said what to do"),
    };
    // Orphans become our children.
    let any = Pid::from_raw(-1);
    let code = loop {
        match wait4(any, 0)? {
            (pid, _) if pid != shell => {}
            (_, status) if libc::WIFSIGNALED(status) => {
                let signal = libc::WTERMSIG(status);
                eprintln!("{TROUBLE}the script was killed by signal {signal}");
                break 128 + signal;
            }
            (_, status) => break libc::WEXITSTATUS(status),
        }
    };
    let after = mounts()?;
    let left: BTreeSet<&str> = after
        .lines()
        .filter(|line| !before.contains(line))
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    if let Some(first) = left.first() {
        let count = left.len();
        eprintln!(
            "{TROUBLE}left behind: mounted outside: {first} ({count} in all)"
        );
    }
    ensure!(
        code != REFUSED,
        "the script has used the exit code {REFUSED}"
    );
    Ok(code)
}

fn start_shell(program: &Path, script: &str) -> anyhow::Result<Pid> {
    let shell = Command::new("sh")
        .args(["-c", script])
        .current_dir("/tmp")
        .env("STEP", program)
        .env("HOME", "/tmp")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("TMPDIR")
        .spawn()
        .context("starting a shell")?;
    Ok(Pid::from_raw(shell.id().cast_signed()))
}

/// Makes the check in a process of its own: the first one has orphans to reap.
fn start_check(name: &str, bench: &Bench) -> anyhow::Result<Pid> {
    let check = checks::find(name)?;
    // SAFETY: this program has one thread.
    match unsafe { fork() }.context("fork()")? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let result = chdir("/tmp").map_err(Into::into);
            let result = result.and_then(|()| check(bench));
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
            let text = serde_json::to_string(&finding).unwrap_or_default();
            print!("{text}");
            let written = std::io::stdout().flush().is_ok();
            // SAFETY: _exit(2) has no preconditions.
            unsafe { libc::_exit(i32::from(!written)) }
        }
    }
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

fn mount_new(kind: &str, target: &Path) -> anyhow::Result<()> {
    mount(
        Some(kind),
        target,
        Some(kind),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        None::<&str>,
    )
    .with_context(|| format!("mount({kind:?}, {target:?})"))
}
