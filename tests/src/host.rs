//! The host, which no container may change.
#![allow(unsafe_code)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use ground::{
    cgroups,
    processes::{self, Stat},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait_until;

/// The environment variable that marks the processes of one run.
pub const MARK: &str = "SUITE_RUN";

/// What all containers share and none may change.
#[derive(Debug, PartialEq)]
pub struct Host {
    hostname: String,
    mounts: BTreeSet<String>,
    devices: Vec<Device>,
}

/// A node that containers get, and that is the host's own.
#[derive(Debug, PartialEq)]
struct Device {
    path: PathBuf,
    owner: (u32, u32),
    mode: u32,
}

impl Device {
    fn now(name: &str) -> Option<Device> {
        let path = Path::new("/dev").join(name);
        let status = path.metadata().ok()?;
        Some(Device {
            path,
            owner: (status.uid(), status.gid()),
            mode: status.mode(),
        })
    }

    fn put_back(&self) -> std::io::Result<()> {
        let (uid, gid) = self.owner;
        chown(&self.path, Some(uid), Some(gid))?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(self.mode))
    }
}

/// How the name of each run's directory begins.
pub(crate) const DIRECTORY: &str = "suite-run-";

impl Host {
    /// Looks at the host, as far as it concerns the run that has `directory`.
    ///
    /// The probe of steps 1 and 2 does mount something on the host, in the
    /// directory of its run, while other runs are looking.
    pub fn now(directory: &Path) -> Host {
        let name = directory.file_name().expect("it is a temporary directory");
        let name = name.to_string_lossy();
        let concerns_us =
            |line: &&str| !line.contains(DIRECTORY) || line.contains(&*name);
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")
            .expect("/proc is mounted");
        let lines = mountinfo.lines().filter(concerns_us);
        Host {
            hostname: hostname(),
            mounts: lines.map(String::from).collect(),
            devices: ["null", "zero", "full", "random", "urandom", "tty"]
                .into_iter()
                .filter_map(Device::now)
                .collect(),
        }
    }

    /// Panics if the host is another one than it was.
    pub fn assert_unchanged(&self, directory: &Path) {
        let now = Host::now(directory);
        assert_eq!(now.hostname, self.hostname, "the host has another name");
        let changed: Vec<&String> =
            now.mounts.symmetric_difference(&self.mounts).collect();
        assert!(changed.is_empty(), "mounted or unmounted: {changed:#?}");
        // The machine has to be usable after a step that is wrong, too.
        for (before, now) in self.devices.iter().zip(&now.devices) {
            if before != now {
                let put_back = before.put_back();
                panic!("{now:?} was {before:?}: put back, {put_back:?}");
            }
        }
    }
}

/// The host's name.
pub fn hostname() -> String {
    let name = nix::unistd::gethostname().expect("gethostname() cannot fail");
    name.into_string().expect("the host's name is UTF-8")
}

/// Waits until all processes of the run `mark` are gone. After a SIGKILL of the
/// supervisor the kernel needs a moment for that.
pub fn assert_no_process(mark: &str) {
    wait_until(&format!("the end of all processes of run {mark}"), || {
        processes(mark).is_empty().then_some(())
    });
}

/// The processes of the run `mark`, by the mark in their environment. The
/// container's init has it in each step: it is forked, and nobody exec'd.
pub(crate) fn processes(mark: &str) -> Vec<i32> {
    let mark = format!("{MARK}={mark}\0");
    let has_mark = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ"));
        environment.is_ok_and(|text| contains(&text, mark.as_bytes()))
    };
    processes::all().filter(has_mark).collect()
}

/// The children of the process `parent`, in the order of their numbers, with
/// the state of each: see [`state`].
pub fn children(parent: i32) -> Vec<(i32, char)> {
    let mut children: Vec<(i32, char)> = processes::all()
        .filter_map(|pid| {
            let stat = Stat::of(pid)?;
            (stat.parent == parent).then_some((pid, stat.state))
        })
        .collect();
    children.sort();
    children
}

/// The only child of the process `parent`, as soon as there is one.
pub fn only_child(parent: i32) -> i32 {
    wait_until(&format!("the child of {parent}"), || {
        match children(parent)[..] {
            [(child, _)] => Some(child),
            _ => None,
        }
    })
}

/// Sends the signal with this number, which may be one of real time.
pub fn signal_number(pid: i32, signal: i32) {
    // SAFETY: kill(2) takes two integers.
    let result = unsafe { libc::kill(pid, signal) };
    nix::errno::Errno::result(result).expect("the process is there");
}

/// Sends `signal` to the process `pid`.
pub fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("the process is there");
}

/// The processes of the session `leader`, and it. See setsid(2).
pub(crate) fn members_of_session(leader: i32) -> Vec<i32> {
    let is_member =
        |pid: &i32| Stat::of(*pid).is_some_and(|stat| stat.session == leader);
    processes::all().filter(is_member).collect()
}

/// The state of a process, as a letter: `S` sleeping, `Z` zombie, … `None` if
/// there is no such process.
pub fn state(pid: i32) -> Option<char> {
    Stat::of(pid).map(|stat| stat.state)
}

/// Whether the process `pid` waits, and has no signals to look at.
pub fn is_at_rest(pid: i32) -> bool {
    let pending = status(pid, "ShdPnd");
    state(pid) == Some('S') && pending.bytes().all(|digit| digit == b'0')
}

/// The cgroups that a supervisor made and that still exist. Its number and its
/// start time are in their name: another one may have had the number before.
pub(crate) fn cgroups_of(pid: i32, start_time: u64) -> Vec<PathBuf> {
    let namespace = fs::read_link("/proc/self/ns/pid").expect("/proc");
    let namespace = namespace.to_string_lossy().into_owned();
    let number = namespace.trim_matches(|c: char| !c.is_ascii_digit());
    let name = format!("{}{number}.{pid}.{start_time}", cgroups::OF_CONTAINERS);
    let mut found = Vec::new();
    for mount in cgroups::mounts().expect("/proc is mounted") {
        find_cgroups(&mount.mount_point, &name, &mut found);
    }
    found
}

fn find_cgroups(parent: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for path in cgroups::children(parent) {
        let own = path.file_name().unwrap_or_default().to_string_lossy();
        if own.starts_with(name) {
            found.push(path.clone());
        }
        find_cgroups(&path, name, found);
    }
}

/// The cgroup directory of `controller` in which the process `pid` is, and the
/// version of cgroups that it belongs to.
pub fn cgroup_of(pid: i32, controller: &str) -> (PathBuf, u32) {
    let of_process = cgroups::of_process(&pid.to_string());
    let of_process = of_process.expect("the process is there");
    let cgroup = cgroups::with(&of_process, controller);
    let cgroup = cgroup.expect("a cgroup of version 2");
    let mounts = cgroups::mounts().expect("/proc is mounted");
    let mut directories = cgroup.directories(&mounts);
    let directory = directories.find(|directory| has_process(directory, pid));
    let directory = directory.expect("its cgroup is mounted somewhere");
    (directory, cgroup.version)
}

fn has_process(cgroup: &Path, pid: i32) -> bool {
    let processes = fs::read_to_string(cgroup.join("cgroup.procs"));
    let pid = pid.to_string();
    processes.is_ok_and(|text| text.lines().any(|line| line == pid))
}

/// The number of processes of the cgroup `directory`; none are in one that
/// somebody else's run has swept meanwhile.
pub fn count_processes(directory: &Path) -> usize {
    match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(processes) => processes.lines().count(),
        Err(_) if !directory.exists() => 0,
        Err(error) => panic!("{}: {error}", directory.display()),
    }
}

/// A line of `/proc/PID/status`, without its name.
pub fn status(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.expect("the kernel has this line");
    value.trim_start_matches(':').trim().to_owned()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
