//! Runs a step: what goes in, what came out, and that the host is unchanged.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use ground::processes::Stat;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    LIMIT,
    host::{self, Host, MARK},
    needs,
    trial::note,
    wait_until,
};

/// Where commands are looked for, outside and in steps 1 to 5 also inside.
const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A run to be: the command line of a step.
#[must_use]
pub struct Run {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    shell: Option<String>,
}

impl Run {
    pub(crate) fn new(program: PathBuf, subcommand: &str) -> Run {
        Run {
            arguments: vec![program.into(), subcommand.into()],
            environment: Vec::new(),
            shell: None,
        }
    }

    /// Adds options, in front of the command.
    pub fn options<O: AsRef<OsStr>>(
        mut self,
        options: impl IntoIterator<Item = O>,
    ) -> Run {
        let options = options.into_iter();
        self.arguments
            .extend(options.map(|it| it.as_ref().to_owned()));
        self
    }

    /// `--rootfs DIRECTORY`.
    pub fn rootfs(self, directory: &Path) -> Run {
        self.options(["--rootfs".as_ref(), directory.as_os_str()])
    }

    /// Sets an environment variable for the supervisor.
    pub fn env(
        mut self,
        name: impl Into<OsString>,
        value: impl Into<OsString>,
    ) -> Run {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Has a shell start the step with `redirection` behind it: `<&-`,
    /// `>/dev/full`, `| head -n 1`.
    pub fn redirected(self, redirection: &str) -> Run {
        self.through(&format!("\"$0\" \"$@\" {redirection}"))
    }

    /// Has a shell script start the step, by `exec "$0" "$@"`.
    pub fn through(mut self, script: &str) -> Run {
        self.shell = Some(script.to_owned());
        self
    }

    /// Runs a shell script in the container, to its end.
    pub fn sh(self, script: &str) -> Finished {
        self.command(["sh", "-c", script])
    }

    /// Runs a command in the container, to its end.
    pub fn command<A: AsRef<OsStr>>(
        self,
        command: impl IntoIterator<Item = A>,
    ) -> Finished {
        self.start(command).finish()
    }

    /// Runs the step as it is, with no command.
    pub fn bare(self) -> Finished {
        self.spawn().finish()
    }

    /// Starts the step as it is, with no command.
    pub fn start_bare(self) -> Running {
        self.spawn()
    }

    /// Starts a shell script in the container. Its standard input stays open
    /// until [`Running::finish`], so a script that ends in `read _` waits.
    pub fn start_sh(self, script: &str) -> Running {
        self.start(["sh", "-c", script])
    }

    /// Starts a command in the container.
    pub fn start<A: AsRef<OsStr>>(
        self,
        command: impl IntoIterator<Item = A>,
    ) -> Running {
        self.options(["--"]).options(command).spawn()
    }

    fn spawn(self) -> Running {
        needs::user_namespaces();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{count}", std::process::id());

        let directory = tempfile::Builder::new()
            .prefix(host::DIRECTORY)
            .tempdir()
            .expect("a temporary directory");
        let file = |name| {
            let path = directory.path().join(name);
            File::create(path).expect("a file for the output")
        };
        let tmp = directory.path().join("tmp");
        fs::create_dir(&tmp).expect("a directory for temporary files");

        let command_line = self.command_line();
        let host = Host::now(directory.path());
        let mut child = self
            .process()
            .env(MARK, &mark)
            .env("TMPDIR", &tmp)
            .stdin(Stdio::piped())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("the step can be started");
        let stdin = child.stdin.take();
        let stat = Stat::of(child.id().cast_signed());
        Running {
            start_time: stat.expect("nobody has waited for it yet").start_time,
            child,
            stdin,
            command_line,
            mark,
            directory,
            host,
        }
    }

    /// The step, or the shell that starts it.
    fn process(&self) -> Command {
        let mut process = match &self.shell {
            None => Command::new(&self.arguments[0]),
            Some(script) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", script]).arg(&self.arguments[0]);
                shell
            }
        };
        process.args(&self.arguments[1..]).env_clear();
        // Of our own environment only what says whose it is: a PATH with
        // directories that a plain user can't search has effects of its own.
        process.env("PATH", PATH);
        for name in ["HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
            process.envs(env::var_os(name).map(|value| (name, value)));
        }
        let pairs = self.environment.iter().map(|(name, value)| (name, value));
        process.envs(pairs);
        process
    }

    /// What to type in a shell to see the same.
    fn command_line(&self) -> String {
        let mut line = String::new();
        for (name, value) in &self.environment {
            let _ = write!(line, "{}={} ", name.display(), quoted(value));
        }
        if let Some(script) = &self.shell {
            let _ = write!(line, "sh -c {} ", quoted(script.as_ref()));
        }
        let arguments: Vec<String> =
            self.arguments.iter().map(|it| quoted(it)).collect();
        line + &arguments.join(" ")
    }
}

/// A run that has not ended yet. If it is dropped (because the test has failed),
/// it is killed.
pub struct Running {
    child: Child,
    start_time: u64,
    stdin: Option<ChildStdin>,
    command_line: String,
    mark: String,
    directory: TempDir,
    host: Host,
}

impl Running {
    /// The supervisor's process number, on the host.
    pub fn supervisor(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The container's first process, as the host sees it: from step 2 on the
    /// init, in step 1 the command itself.
    pub fn init(&self) -> i32 {
        host::only_child(self.supervisor())
    }

    /// The command, as the host sees it: the init's child (from step 2 on).
    pub fn command(&self) -> i32 {
        host::only_child(self.init())
    }

    /// The cgroups that this run made and that still exist.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        host::cgroups_of(self.supervisor(), self.start_time)
    }

    /// What came on standard output so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// Waits until `text` has come on standard output. Gives up, with a panic,
    /// when the run ends without it.
    pub fn wait_for(&mut self, text: &str) {
        wait_until(&format!("{text:?}"), || {
            // In this order: the last words come before the end.
            let ended = self.child.try_wait().expect("wait4()").is_some();
            let seen = self.stdout().contains(text);
            if ended && !seen {
                let finished = self.finished();
                panic!("no {text:?}, but {finished:?}");
            }
            seen.then_some(())
        });
    }

    /// Types a line for the container's standard input.
    pub fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is open until the end");
        writeln!(stdin, "{line}").expect("the container reads");
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: Signal) {
        host::signal(self.supervisor(), signal);
    }

    /// Ends standard input with a last empty line, waits for the end of the run,
    /// and checks the host.
    pub fn finish(mut self) -> Finished {
        if let Some(mut stdin) = self.stdin.take() {
            // It may be that nobody reads, or nobody is there any more.
            let _ = stdin.write_all(b"\n");
        }
        let finished = self.finished();
        host::assert_no_process(&self.mark);
        let cgroups = self.cgroups();
        assert!(cgroups.is_empty(), "left behind: {cgroups:?}");
        self.assert_host_unchanged();
        finished
    }

    /// Kills the supervisor by SIGKILL, and checks that nothing is left but at
    /// most an empty cgroup, the path of which is returned.
    pub fn kill(mut self) -> Vec<PathBuf> {
        let _ = self.child.kill();
        self.finished();
        host::assert_no_process(&self.mark);
        self.assert_host_unchanged();
        let cgroups = self.cgroups();
        for cgroup in &cgroups {
            wait_until(&format!("the end of all in {cgroup:?}"), || {
                (host::count_processes(cgroup) == 0).then_some(())
            });
        }
        cgroups
    }

    fn assert_host_unchanged(&self) {
        self.host.assert_unchanged(self.directory.path());
        let tmp = self.directory.path().join("tmp");
        let left = fs::read_dir(tmp).expect("it was ours").count();
        assert_eq!(left, 0, "temporary files are left behind");
    }

    fn finished(&mut self) -> Finished {
        let status = self.wait();
        let finished = Finished {
            code: exit_code(status),
            bytes: self.read_bytes("stdout"),
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
        };
        note(format!("{}\n{finished}", self.command_line));
        finished
    }

    /// Waits for the supervisor, and kills it when that takes too long.
    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        let mut pause = std::time::Duration::from_micros(200);
        loop {
            match self.child.try_wait().expect("wait4()") {
                Some(status) => return status,
                None if start.elapsed() > *LIMIT => {
                    self.child.kill().expect("it is our child");
                    let stderr = self.read("stderr");
                    let line = &self.command_line;
                    panic!("{line}\nruns for {:?}\n{stderr}", *LIMIT);
                }
                None => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(*LIMIT / 4000);
                }
            }
        }
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.read_bytes(name)).into_owned()
    }

    fn read_bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join(name)).expect("it is our file")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in host::processes(&self.mark) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; 128+n if signal n killed the supervisor itself.
    pub code: i32,
    /// Standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Standard output as it was.
    pub bytes: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Checks that the run succeeded, and returns its output without the white
    /// space around it.
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "exit code");
        self.stdout.trim()
    }

    /// The lines of the output.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Finished {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let finished = Finished {
            code: exit_code(output.status),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            bytes: output.stdout,
        };
        note(format!("a command of the host\n{finished}"));
        finished
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "  exit code {}", self.code)?;
        for (name, text) in [("out", &self.stdout), ("err", &self.stderr)] {
            for line in text.lines() {
                writeln!(f, "  {name}: {line}")?;
            }
        }
        Ok(())
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let signal = || 128 + status.signal().unwrap_or_default();
    status.code().unwrap_or_else(signal)
}

/// An argument as a shell wants it.
fn quoted(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
