//! What a test needs from the machine. If it is not there, the test is skipped
//! and says why.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use nix::unistd::geteuid;

use crate::skip;

/// Why a test is skipped for a plain user.
pub(crate) const ROOT: &str = "needs root";

/// Why a test is skipped for root.
pub(crate) const PLAIN_USER: &str = "needs a plain user";

/// Whether the suite runs as root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The test makes sense for root only.
pub fn root() {
    if !is_root() {
        skip(ROOT);
    }
}

/// The test makes sense for a plain user only.
pub fn plain_user() {
    if is_root() {
        skip(PLAIN_USER);
    }
}

/// The test needs a program of the host.
pub fn tool(name: &str) -> PathBuf {
    find_tool(name)
        .unwrap_or_else(|| skip(&format!("needs the program {name}")))
}

/// Where the host's program `name` is.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// A plain user needs user namespaces for all of this.
pub fn user_namespaces() {
    static REFUSED: OnceLock<bool> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| {
        let attempt = Command::new("unshare")
            .args(["--map-root-user", "true"])
            .stderr(Stdio::null())
            .status();
        // Without the tool nothing is known: the test will show it.
        !is_root() && attempt.is_ok_and(|status| !status.success())
    });
    if *refused {
        skip("needs user namespaces, which this machine refuses");
    }
}

/// The test needs a cgroup in which this user may set limits, of any version.
pub fn limits() {
    if let Some(reason) = why_no_limits() {
        skip(&reason);
    }
}

/// Why this user can't limit anything here; `None` if that works.
///
/// Found out by the program itself: only it knows where it makes its cgroup.
pub fn why_no_limits() -> Option<String> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    REASON
        .get_or_init(|| {
            let tried = crate::CGROUPS
                .run()
                .options(["--memory", "64m", "--cpus", "1", "--pids-limit"])
                .options(["64"])
                .command(["true"]);
            // program: aim: reason: call
            let reason = tried.stderr.split(": ").nth(2);
            let reason = reason.unwrap_or("it failed").trim();
            (tried.code != 0).then(|| format!("needs limits: {reason}"))
        })
        .clone()
}

/// The mount points of the cgroup file systems, with the type of each:
/// `cgroup` is version 1, `cgroup2` version 2.
pub fn cgroup_mounts() -> Vec<(PathBuf, String)> {
    let mountinfo =
        fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let file_system = after.split(' ').next()?;
        let mount_point = before.split(' ').nth(4)?;
        file_system
            .starts_with("cgroup")
            .then(|| (PathBuf::from(mount_point), file_system.to_owned()))
    });
    mounts.collect()
}
