//! Stopping all processes of a cgroup at once, without their noticing it.
//!
//! Both versions of cgroups can, by other files. On version 2 a process that is
//! stopped can still be killed; on version 1 it dies when it is let go. What asks
//! for a stop, and what tells that all have stopped, are two things: in between,
//! some have and some have not, and whoever is killed there leaves it so. See
//! cgroups(7), and the kernel's freezer-subsystem.rst and cgroup-v2.rst.

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::bail;
use common::{
    host::{
        cgroups::Version,
        files::{read_kernel_file, write_kernel_file},
    },
    sys,
};
use nix::errno::Errno;

/// How long processes may take to stop, or to go on.
const PATIENCE: Duration = Duration::from_secs(2);

/// The file of version 2 that asks, and the one that tells.
const FREEZE: &str = "cgroup.freeze";
const EVENTS: &str = "cgroup.events";

/// The file of version 1 for both.
const STATE: &str = "freezer.state";

/// Whether processes in this cgroup can be stopped.
pub fn is_there(cgroup: &Path, version: Version) -> bool {
    cgroup.join(asking(version)).exists()
}

/// Stops all processes in `cgroup`, and waits until they are.
///
/// # Errors
/// Some don't stop, since they wait for a disk or a network: then all go on. The
/// caller has said nothing to anybody, so nobody would let them go.
pub fn freeze(cgroup: &Path, version: Version) -> anyhow::Result<()> {
    freeze_within(PATIENCE, cgroup, version)
}

fn freeze_within(
    patience: Duration,
    cgroup: &Path,
    version: Version,
) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        // Version 1 may have to be told again: who forks while it is looked at
        // is not caught. See freezer-subsystem.rst.
        ask(cgroup, version, true)?;
        if has_stopped(cgroup, version) {
            return Ok(());
        }
        if start.elapsed() > patience {
            ask(cgroup, version, false)?;
            bail!("not all processes in {cgroup:?} stop");
        }
        sleep(Duration::from_millis(1));
    }
}

/// Lets them go on, whether all had stopped or not. In a cgroup that is gone
/// nobody is stopped.
pub fn thaw(cgroup: &Path, version: Version) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        // Somebody may be at it who wants them to stop, and asks again, too.
        match ask(cgroup, version, false) {
            Err(error) if is_gone(error.errno) => return Ok(()),
            asked => asked?,
        }
        if !has_stopped(cgroup, version) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!("the processes in {cgroup:?} don't go on");
        }
        sleep(Duration::from_millis(1));
    }
}

/// Whether they have been asked to stop: some may not have done so yet.
pub fn is_frozen(cgroup: &Path, version: Version) -> bool {
    match (version, read(cgroup, asking(version)).as_deref()) {
        (Version::V2, Some(text)) => text.trim() == "1",
        // FREEZING, or FROZEN.
        (Version::V1, Some(text)) => text.trim() != "THAWED",
        (_, None) => false,
    }
}

fn asking(version: Version) -> &'static str {
    match version {
        Version::V1 => STATE,
        Version::V2 => FREEZE,
    }
}

/// Removed before its file was opened, or afterwards.
fn is_gone(errno: Errno) -> bool {
    errno == Errno::ENOENT || errno == Errno::ENODEV
}

fn ask(cgroup: &Path, version: Version, stop: bool) -> sys::Result<()> {
    let word = match (version, stop) {
        (Version::V1, true) => "FROZEN",
        (Version::V1, false) => "THAWED",
        (Version::V2, true) => "1",
        (Version::V2, false) => "0",
    };
    write_kernel_file(cgroup.join(asking(version)), word)
}

fn has_stopped(cgroup: &Path, version: Version) -> bool {
    let (file, line) = match version {
        Version::V1 => (STATE, "FROZEN"),
        Version::V2 => (EVENTS, "frozen 1"),
    };
    let text = read(cgroup, file);
    text.is_some_and(|text| text.lines().any(|it| it == line))
}

fn read(cgroup: &Path, file: &str) -> Option<String> {
    let text = read_kernel_file(cgroup.join(file)).ok()?;
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, process::Command};

    use common::host::cgroups::Layout;
    use nix::unistd::{Pid, geteuid};

    use super::*;

    /// A directory of the calling test's own.
    fn scratch() -> PathBuf {
        let thread = nix::unistd::gettid();
        let name = format!("step06-freezer-{thread}");
        let place = std::env::temp_dir().join(name);
        fs::create_dir_all(&place).expect("it is made");
        place
    }

    /// A cgroup with a process that counts, in each tree that can stop it.
    fn in_each_tree(test: impl Fn(&Path, Version, &dyn Fn() -> u64)) {
        if !geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let layout = Layout::read().expect("it is read");
        for (names, tree) in layout.trees() {
            let version = tree.version;
            if version == Version::V1 && !names.contains(&"freezer") {
                continue;
            }
            let name = scratch().file_name().expect("it has one").to_owned();
            let cgroup = tree.mount_point.join(name);
            sys::mkdir(&cgroup, 0o755).expect("it is made");
            let file = scratch().join("count");
            let script = format!(
                "echo $$ >{}/cgroup.procs; while :; do echo; done >{}",
                cgroup.display(),
                file.display(),
            );
            let mut child = Command::new("sh")
                .args(["-c", &script])
                .spawn()
                .expect("there is a shell");
            let count = || fs::metadata(&file).map_or(0, |it| it.len());
            let start = Instant::now();
            while count() < 10 {
                assert!(start.elapsed() < 10 * PATIENCE, "it does not run");
            }
            test(&cgroup, version, &count);
            let pid = Pid::from_raw(child.id().cast_signed());
            sys::signals::kill(pid, libc::SIGKILL).expect("it is ours");
            child.wait().expect("it is ours");
            step04_cgroups::try_remove(&cgroup).expect("it is empty");
            fs::remove_dir_all(scratch()).expect("it is ours");
        }
    }

    #[test]
    fn who_is_stopped_does_nothing_until_it_goes_on() {
        in_each_tree(|cgroup, version, count| {
            assert!(is_there(cgroup, version));
            assert!(!is_frozen(cgroup, version));
            freeze(cgroup, version).expect("it stops");
            assert!(is_frozen(cgroup, version));
            let before = count();
            sleep(Duration::from_millis(30));
            assert_eq!(count(), before);
            thaw(cgroup, version).expect("it goes on");
            assert!(!is_frozen(cgroup, version));
            while count() == before {}
        });
    }

    #[test]
    fn what_was_begun_can_be_ended() {
        in_each_tree(|cgroup, version, count| {
            // As somebody does who is killed then.
            ask(cgroup, version, true).expect("it is asked");
            assert!(is_frozen(cgroup, version));
            thaw(cgroup, version).expect("it goes on");
            let before = count();
            while count() == before {}
        });
    }

    #[test]
    fn in_a_cgroup_that_is_gone_nobody_is_stopped() {
        let gone = scratch().join("gone");
        for version in [Version::V1, Version::V2] {
            thaw(&gone, version).expect("nobody is stopped");
            freeze(&gone, version).expect_err("nobody can be");
        }
        fs::remove_dir_all(scratch()).expect("it is ours");
    }

    /// There is no process that can be relied on not to stop; but there are
    /// directories in which nobody ever answers.
    #[test]
    fn if_some_do_not_stop_all_go_on() {
        let (cgroup, version) = (scratch(), Version::V2);
        let file = cgroup.join(asking(version));
        fs::write(&file, "").expect("it is ours");
        freeze_within(Duration::ZERO, &cgroup, version)
            .expect_err("nobody answers");
        assert_eq!(fs::read_to_string(&file).expect("it is ours"), "0");
        fs::remove_dir_all(cgroup).expect("it is ours");
    }
}
