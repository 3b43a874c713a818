//! The kernel's own record of system calls. See the kernel's documentation,
//! trace/events, and tracefs in trace/ftrace.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::Context;
use nix::mount::{MsFlags, mount};

/// Where tracefs is, or gets mounted.
const TRACEFS: &str = "/sys/kernel/tracing";

/// What is noted down: the two ends of each call, and the life of processes.
const EVENTS: [&str; 4] = [
    "syscalls",
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "sched/sched_process_exit",
];

/// Kilobytes for each processor: a start makes some hundred lines, a compiler
/// beside it many thousand.
const BUFFER: &str = "8192";

/// A record of our own, apart from what others trace. Dropping it removes it.
pub(super) struct Tracefs {
    instance: PathBuf,
}

impl Tracefs {
    /// Makes the record; it is off.
    ///
    /// # Errors
    /// `EPERM` or `EACCES` for who is not root; `ENOENT` where the kernel was
    /// built without `CONFIG_FTRACE_SYSCALLS`.
    pub(super) fn open() -> anyhow::Result<Tracefs> {
        if !Path::new(TRACEFS).join("instances").exists() {
            // In our own mount namespace: see `private`.
            let (name, none) = (Some("tracefs"), None::<&str>);
            mount(name, TRACEFS, name, MsFlags::empty(), none)
                .with_context(|| format!("mount(\"tracefs\", {TRACEFS:?})"))?;
        }
        let name = format!("six-steps-bench.{}", process::id());
        let instance = Path::new(TRACEFS).join("instances").join(name);
        fs::create_dir(&instance)
            .with_context(|| format!("mkdir({instance:?})"))?;
        let trace = Tracefs { instance };
        trace.set("tracing_on", "0")?;
        trace.set("trace_clock", "mono")?;
        trace.set("buffer_size_kb", BUFFER)?;
        for event in EVENTS {
            trace.set(&format!("events/{event}/enable"), "1")?;
        }
        Ok(trace)
    }

    /// What the kernel notes down while `what` runs, of all processes.
    pub(super) fn during(
        &self,
        what: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<String> {
        // Empties it.
        self.set("trace", "")?;
        self.set("tracing_on", "1")?;
        let done = what();
        self.set("tracing_on", "0")?;
        done?;
        let path = self.instance.join("trace");
        fs::read_to_string(&path).with_context(|| format!("read({path:?})"))
    }

    fn set(&self, file: &str, value: &str) -> anyhow::Result<()> {
        let path = self.instance.join(file);
        fs::write(&path, value)
            .with_context(|| format!("write({path:?}, {value:?})"))
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.instance) {
            eprintln!("bench: rmdir({:?}): {error}", self.instance);
        }
    }
}
