//! A bundle: a root file system of this machine's own tools, and a file that
//! says what is to be done with it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The program that is tried.
pub(crate) fn program() -> PathBuf {
    let other = std::env::var_os("STEP06_OCI").map(PathBuf::from);
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_step06-oci").into())
}

/// A bundle in a directory of its own, with the states of its containers. What
/// was not deleted is, at the end.
pub(crate) struct Bundle {
    directory: TempDir,
    /// What will be written to `config.json`.
    pub(crate) config: Value,
}

/// What the tests make their roots of: it must be on the same file system.
fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let root = common::rootfs::find(&None).expect("there is a root");
        let tools = tempfile::tempdir().expect("a directory");
        copy("-a", &root, &tools.path().join("rootfs"));
        harness::trial::keep_until_the_end(tools)
    })
}

fn copy(how: &str, from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(how).arg(from).arg(to).status();
    assert!(copied.expect("there is a cp").success());
}

impl Bundle {
    /// A bundle that runs `script` in a shell, without limits and with nothing
    /// that is not needed.
    pub(crate) fn new(script: &str) -> Bundle {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("rootfs");
        copy("-al", &tools().join("rootfs"), &root);
        let mount = |place: &str, kind: &str, options: &[&str]| {
            json!({"destination": place, "type": kind, "source": kind,
                "options": options})
        };
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["sh", "-c", script],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
            },
            "root": {"path": "rootfs"},
            "mounts": [
                mount("/proc", "proc", &[]),
                mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=64k"]),
                mount("/dev/pts", "devpts", &["newinstance",
                    "ptmxmode=0666", "mode=0620"]),
            ],
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "mount"},
                    {"type": "uts"}, {"type": "ipc"}, {"type": "network"}],
            },
        });
        let mut bundle = Bundle { directory, config };
        if harness::needs::is_root() {
            // All containers of the tests have the same name.
            let place = bundle.path().file_name().expect("it has a name");
            let place = format!("/step06-oci-test{}", place.display());
            bundle.config["linux"]["cgroupsPath"] = json!(place);
        }
        bundle
    }

    /// The same with capabilities: `names` in all five sets but the ambient one.
    pub(crate) fn with_capabilities(mut self, names: &[&str]) -> Bundle {
        let sets = ["bounding", "permitted", "effective"];
        for set in sets {
            self.config["process"]["capabilities"][set] = json!(names);
        }
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// Takes a namespace off the list.
    pub(crate) fn without(&mut self, kind: &str) {
        let list = &mut self.config["linux"]["namespaces"];
        let list = list.as_array_mut().expect("a list");
        list.retain(|namespace| namespace["type"] != kind);
    }

    /// Adds to a list.
    pub(crate) fn push(&mut self, pointer: &str, value: Value) {
        let list = self.config.pointer_mut(pointer).expect("it is there");
        list.as_array_mut().expect("a list").push(value);
    }

    pub(crate) fn write(&self) {
        let path = self.path().join("config.json");
        fs::write(path, self.config.to_string()).expect("it is ours");
    }

    /// Calls the runtime.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        // A container goes on writing to its own.
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let out = self.path().join(format!("out.{call}"));
        let err = self.path().join(format!("err.{call}"));
        let output = File::create(&out).expect("it is ours");
        let errors = File::create(&err).expect("it is ours");
        let status = Command::new("timeout")
            .args(["--signal=KILL", "60"])
            .arg(program())
            .arg("--root")
            .arg(self.path().join("state"))
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .status()
            .expect("there is a timeout");
        Output {
            status,
            stdout: fs::read(out).expect("it is ours"),
            stderr: fs::read(err).expect("it is ours"),
        }
    }

    /// What a verb prints that goes well.
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    }

    /// Why a verb fails.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        let text = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains("error"), "{text}");
        text
    }

    /// What the container prints.
    pub(crate) fn says(&self) -> String {
        self.write();
        self.does(&["run", "box"])
    }

    /// The exit code of the container.
    pub(crate) fn exits(&self) -> i32 {
        self.write();
        self.tool(&["run", "box"]).status.code().expect("a code")
    }

    /// Why there is no container; and nothing must be left.
    pub(crate) fn is_refused(&self) -> String {
        self.write();
        let why = self.fails(&["create", "box"]);
        assert_eq!(self.does(&["list", "--quiet"]), "");
        why
    }

    /// Creates the container.
    pub(crate) fn create(&self) {
        self.create_with(&[]);
    }

    /// The same, with options.
    pub(crate) fn create_with(&self, options: &[&str]) {
        self.create_by(&[&["create"], options].concat());
    }

    /// The same, with all that comes before the name.
    pub(crate) fn create_by(&self, arguments: &[&str]) {
        self.write();
        self.does(&[arguments, &["box"]].concat());
    }

    /// Starts the runtime, kills it `after` that time, and has what it leaves
    /// removed.
    pub(crate) fn is_cleaned_up(&self, arguments: &[&str], after: Duration) {
        let mut runtime = Command::new(program())
            .args(["--root", "state"])
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        thread::sleep(after);
        runtime.kill().expect("it is ours");
        runtime.wait().expect("it is ours");
        self.does(&["delete", "--force", "box"]);
        assert_eq!(self.does(&["list", "--quiet"]), "");
    }

    /// A member of its state.
    pub(crate) fn state(&self, member: &str) -> Value {
        let text = self.does(&["state", "box"]);
        let state: Value = serde_json::from_str(&text).expect("JSON");
        state[member].clone()
    }

    pub(crate) fn status(&self) -> String {
        self.state("status").as_str().expect("text").to_owned()
    }

    /// Waits until the container has that status.
    pub(crate) fn becomes(&self, status: &str) {
        harness::wait_until(status, || (self.status() == status).then_some(()));
    }

    pub(crate) fn pid(&self) -> i64 {
        self.state("pid").as_i64().expect("a number")
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.tool(&["delete", "--force", "box"]);
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
