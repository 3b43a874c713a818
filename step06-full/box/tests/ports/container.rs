//! A container with the server of these tests in it.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{Mutex, OnceLock},
};

use harness::{needs, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, chown, geteuid},
};
use tempfile::TempDir;

use crate::server::WORD;

/// Who starts a container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Same,
    /// A user who has no name, if the tests run as root.
    Plain,
}

/// An id that nobody has.
const PLAIN: u32 = 61_234;

/// Both of them; as a plain user there is only one.
pub(crate) fn users() -> Vec<User> {
    match geteuid().is_root() {
        true => vec![User::Same, User::Plain],
        false => vec![User::Same],
    }
}

/// The built program and this one, where everybody can read them, and a home for
/// each user.
pub(crate) struct Place {
    path: PathBuf,
}

pub(crate) fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        needs::user_namespaces();
        let dir = TempDir::new().expect("a directory");
        let all = |mode| fs::Permissions::from_mode(mode);
        fs::set_permissions(dir.path(), all(0o755)).expect("it is ours");
        let program = env::var_os("BOX").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_box")),
            PathBuf::from,
        );
        fs::copy(program, dir.path().join("box")).expect("a copy");
        let us = env::current_exe().expect("we are somewhere");
        fs::copy(us, dir.path().join("server")).expect("a copy");
        let home = dir.path().join("home");
        fs::create_dir(&home).expect("a directory");
        if geteuid().is_root() {
            chown(&home, Some(PLAIN.into()), Some(PLAIN.into())).expect("root");
        }
        let path = harness::trial::keep_until_the_end(dir);
        Place { path }
    })
}

impl Place {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `box`, to be started by `user`.
    pub(crate) fn tool(&self, user: User) -> Command {
        let mut command = Command::new(self.path().join("box"));
        command.env_remove("RUST_BACKTRACE").current_dir("/");
        if user == User::Plain {
            command.uid(PLAIN).gid(PLAIN);
            command.env("HOME", self.path().join("home"));
            command.env_remove("XDG_CACHE_HOME");
            command.env_remove("XDG_DATA_HOME");
        }
        command
    }

    /// `box run` with these options and the server, which listens at `address`.
    pub(crate) fn run(
        &self,
        user: User,
        options: &[&str],
        address: &str,
    ) -> Command {
        let mut command = self.tool(user);
        let server = self.path().join("server");
        command
            .arg("run")
            .arg(format!("--volume={}:/server:ro", server.display()))
            .args(options)
            .args(["-", "/server", WORD, address])
            .stdin(Stdio::null());
        command
    }

    /// What `box run` says that fails before anything runs.
    pub(crate) fn refuses(&self, user: User, options: &[&str]) -> String {
        let output: Output = self
            .tool(user)
            .arg("run")
            .args(options)
            .args(["-", "true"])
            .output()
            .expect("it runs");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(125), "{options:?}: {text}");
        text
    }
}

/// A container that runs; its end is this one's.
pub(crate) struct Container {
    process: Child,
    _output: BufReader<ChildStdout>,
    /// What was said about ports that were chosen, such as
    /// `127.0.0.1:49153->80/tcp`.
    chosen: Mutex<BufReader<std::process::ChildStderr>>,
}

impl Container {
    /// Starts one, and waits until its server is ready.
    pub(crate) fn start(user: User, options: &[&str]) -> Container {
        Container::serving_at(user, options, "0.0.0.0:80")
    }

    pub(crate) fn serving_at(
        user: User,
        options: &[&str],
        address: &str,
    ) -> Container {
        Container::of(place().run(user, options, address))
    }

    /// The same, behind a command of the shell that limits it.
    pub(crate) fn start_limited(limit: &str, options: &[&str]) -> Container {
        let run = place().run(User::Same, options, "0.0.0.0:80");
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")])
            .arg(run.get_program())
            .args(run.get_args())
            .stdin(Stdio::null());
        Container::of(command)
    }

    fn of(mut command: Command) -> Container {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let output = process.stdout.take().expect("a pipe");
        let mut output = BufReader::new(output);
        let errors = process.stderr.take().expect("a pipe");
        let mut errors = BufReader::new(errors);
        let mut line = String::new();
        output.read_line(&mut line).expect("a pipe");
        if line != "ready\n" {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            panic!("{line}{text}");
        }
        Container {
            process,
            _output: output,
            chosen: Mutex::new(errors),
        }
    }

    /// The next port that was chosen: what it leads to, and its address.
    pub(crate) fn chosen(&self) -> (String, std::net::SocketAddr) {
        let mut lines = self.chosen.lock().expect("nobody has failed");
        loop {
            let mut line = String::new();
            let length = lines.read_line(&mut line).expect("a pipe");
            assert_ne!(length, 0, "no port was chosen");
            let port = line.trim().strip_prefix("published: ");
            if let Some((address, inside)) =
                port.and_then(|it| it.split_once("->"))
            {
                let address = address.parse().expect("an address");
                return (inside.to_owned(), address);
            }
        }
    }

    /// Ends it, and returns what it has said since.
    pub(crate) fn errors_at_the_end(self) -> String {
        let pid = Pid::from_raw(self.pid());
        kill(pid, Signal::SIGTERM).expect("it runs");
        let mut text = String::new();
        let mut errors = self.chosen.lock().expect("nobody has failed");
        errors.read_to_string(&mut text).expect("a pipe");
        drop(errors);
        text
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// The process that publishes.
    pub(crate) fn publisher(&self) -> i32 {
        wait_until("the process that publishes", || {
            children(self.pid())
                .into_iter()
                .find(|pid| is_publisher(*pid))
        })
    }

    /// The container's first process.
    pub(crate) fn init(&self) -> i32 {
        let mut all = children(self.pid()).into_iter();
        all.find(|pid| !is_publisher(*pid)).expect("it has one")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.pid());
        let _ = kill(pid, Signal::SIGTERM);
        let ended = wait_until("the end", || {
            self.process.try_wait().expect("it is ours")
        });
        let _ = ended;
    }
}

fn children(parent: i32) -> Vec<i32> {
    let children = harness::host::children(parent).into_iter();
    children.map(|(pid, _)| pid).collect()
}

pub(crate) fn is_publisher(pid: i32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim() == "box-ports")
}
