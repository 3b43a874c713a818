//! A store of a test's own, and the containers in it.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take; a test machine may be slow.
const LIMIT: Duration = Duration::from_secs(60);

/// A store, and all that `box` does with it. Nothing is left at its end.
pub(crate) struct World {
    pub(crate) store: TempDir,
}

pub(crate) fn box_program() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_box");
    env::var_os("BOX").map_or_else(|| built.into(), PathBuf::from)
}

impl World {
    /// What a script does in which `$0` is `box`, and `$1` the store.
    pub(crate) fn bash(&self, script: &str) -> Output {
        let mut command = Command::new("bash");
        command
            .args(["-c", script])
            .arg(box_program())
            .arg(self.store.path());
        command.output().expect("bash(1) is there")
    }

    pub(crate) fn new() -> World {
        // Closed to others, whatever the umask is.
        let mode = fs::Permissions::from_mode(0o700);
        let mut builder = tempfile::Builder::new();
        let store = builder.permissions(mode).tempdir().expect("a directory");
        World { store }
    }

    pub(crate) fn command<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(box_program());
        command.arg("--store").arg(self.store.path());
        command.args(arguments).env_remove("RUST_BACKTRACE");
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Output {
        self.command(arguments).output().expect("box runs")
    }

    /// What is printed by what goes well.
    pub(crate) fn says<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.trim_end().to_owned()
    }

    /// The exit code of what goes wrong, and what is said about it.
    pub(crate) fn fails<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stderr).expect("text");
        (output.status.code().expect("a code"), text)
    }

    /// A container in the background that runs `script`.
    pub(crate) fn start(&self, name: &str, script: &str) {
        self.says(["run", "-d", "--name", name, "-", "sh", "-c", script]);
    }

    /// What `inspect` says.
    pub(crate) fn inspect(&self, name: &str) -> Value {
        let text = self.says(["inspect", name]);
        let value: Value = serde_json::from_str(&text).expect("it is JSON");
        value[0].clone()
    }

    /// In `ps`, a word.
    pub(crate) fn state(&self, name: &str) -> Option<String> {
        let text = self.says(["ps", "-a", "--format", "json"]);
        let rows = text.lines().map(|line| {
            serde_json::from_str::<Value>(line).expect("it is JSON")
        });
        let mut rows = rows.filter(|row| row["Names"] == name);
        Some(rows.next()?["State"].as_str()?.to_owned())
    }

    pub(crate) fn number(&self, name: &str, field: &str) -> i32 {
        let number = self.inspect(name)["State"][field].as_i64();
        number.and_then(|it| it.try_into().ok()).expect("a number")
    }

    /// Waits until the container has printed `text`.
    pub(crate) fn wait_for(&self, name: &str, text: &str) {
        wait_until(text, || self.says(["logs", name]).contains(text));
    }

    /// The numbers of this world's processes.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let all = self.processes().into_iter();
        all.filter_map(|it| it.split(' ').next()?.parse().ok())
            .collect()
    }

    /// The processes that have this world's path in their command line: all of
    /// ours, but for a container's number 1, once it has passed its gate.
    pub(crate) fn processes(&self) -> Vec<String> {
        let path = self.store.path().to_str().expect("text");
        let entries = fs::read_dir("/proc").expect("/proc");
        let pids = entries.flatten().filter_map(|it| {
            it.file_name().into_string().ok()?.parse::<i32>().ok()
        });
        let commands = pids.filter_map(|pid| {
            let text = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&text).into_owned()))
        });
        let ours = commands.filter(|(_, text)| text.contains(path));
        ours.map(|(pid, text)| format!("{pid} {text}")).collect()
    }

    /// Nothing of a run is left: no process, no mount, no directory.
    pub(crate) fn assert_no_trace(&self) {
        wait_until("no process", || self.processes().is_empty());
        let mounts = fs::read_to_string("/proc/self/mountinfo");
        let path = self.store.path().to_str().expect("text");
        assert!(!mounts.expect("mounts").contains(path));
        let run = self.store.path().join("run");
        let left = fs::read_dir(run).expect("it is there").count();
        assert_eq!(left, 0, "directories of runs are left");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let output = self.run(["ps", "-aq"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for id in text.lines() {
            let output = self.run(["rm", "-f", id]);
            if !output.status.success() && !std::thread::panicking() {
                panic!("it can't be removed: {output:?}");
            }
        }
        if let Err(error) = fs::remove_dir_all(self.store.path())
            && !std::thread::panicking()
        {
            panic!("{:?} can't be removed: {error}", self.store.path());
        }
    }
}

/// Waits until something is true.
pub(crate) fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < LIMIT, "waited in vain for: {what}");
        sleep(Duration::from_millis(10));
    }
}

pub(crate) fn exists(pid: i32) -> bool {
    // A zombie is gone; only its parent does not know yet.
    harness::host::state(pid).is_some_and(|it| it != 'Z')
}
