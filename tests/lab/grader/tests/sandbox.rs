//! A sandbox that a plain user has made: its root is that user outside, who may
//! write to what nobody else can even see.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use ground::cgroups;
use lab::{limits::memberships, sandbox};
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{Gid, Pid, Uid, geteuid, setgroups, setresgid, setresuid},
};

/// Who that is here.
const NOBODY: u32 = 65534;

/// Not the standard harness: a sandbox starts this program once more.
fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [verb, program, _, what @ ..] = &arguments[..]
        && verb == "in-sandbox"
    {
        let code = sandbox::enter(Path::new(program), what);
        // As in the program `lab`: nothing is left to be cleaned up.
        #[allow(clippy::exit)]
        std::process::exit(code)
    }
    if !geteuid().is_root() {
        println!("not tried: only root can make a place that is not covered");
        return ExitCode::SUCCESS;
    }
    // Not in the directory of temporary files, which is covered.
    let name = format!("/run/lab-sandbox-test.{}", std::process::id());
    let place = Place(name.into());
    nobody_speaks_in_the_place_of_a_check();
    println!("ok: nobody speaks in the place of a check");
    what_a_killed_check_has_left_is_swept();
    println!("ok: what a killed check has left is swept");
    what_the_grader_owns_is_not_changed(&place.0);
    println!("ok: what the grader owns is not changed");
    let root = Uid::from_raw(0);
    setresuid(root, root, root).expect("it was in reserve");
    an_interrupted_check_leaves_no_cgroup();
    println!("ok: an interrupted check leaves no cgroup");
    ExitCode::SUCCESS
}

fn what_the_grader_owns_is_not_changed(place: &Path) {
    fs::create_dir(place).expect("the name is new");
    let result = place.join("result");
    fs::write(&result, "the result of another\n").expect("it is ours");
    for path in [&result, place] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("we are root");
    }
    let mode = |path: &Path, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(path, mode).expect("we are root");
    };
    mode(&result, 0o600);
    mode(place, 0o700);
    become_nobody();

    // Outside it can be done: that is what makes it worth a test.
    fs::write(&result, "the result of another\n").expect("it is nobody's");
    let in_memory = format!("/dev/shm/lab-sandbox-test.{}", std::process::id());
    let variables = [
        ("RESULT".to_owned(), result.display().to_string()),
        ("IN_MEMORY".to_owned(), in_memory.clone()),
    ];
    let script = r#"
        (echo mine >"$RESULT") 2>/dev/null && echo changed
        (echo mine >"$IN_MEMORY") 2>/dev/null
        echo mine >/tmp/mine && echo "writes in /tmp"
        echo mine >/dev/null && echo "writes to a device"
    "#;
    let finished = sandbox::run(Path::new("/bin/true"), script, &variables)
        .expect("this machine has user namespaces");
    assert_eq!(finished.stdout, "writes in /tmp\nwrites to a device\n");
    let text = fs::read_to_string(&result).expect("it is nobody's");
    assert_eq!(text, "the result of another\n");
    assert!(!Path::new(&in_memory).exists(), "{in_memory} is left");
}

/// Number 1 of the sandbox makes the check, or is its parent: its descriptors
/// are where the outcome is written.
fn nobody_speaks_in_the_place_of_a_check() {
    let script = r#"
        [ "$(id -u)" = 0 ] && echo "is root"
        ls /proc/1/fd/ 2>/dev/null
        (echo forged >/proc/1/fd/1) 2>/dev/null
        cat /proc/1/environ 2>/dev/null
        echo end
    "#;
    let finished = sandbox::run(Path::new("/bin/true"), script, &[])
        .expect("this machine has user namespaces");
    assert_eq!(finished.stdout, "is root\nend\n");
}

/// The directories in which the cgroups of checks are made.
fn parents() -> Vec<PathBuf> {
    let all = memberships().expect("there are cgroups");
    let parents = all.into_iter().map(|(version, own)| match version {
        2 if own.join("cgroup.type").exists() => {
            own.parent().expect("it is not the topmost").to_owned()
        }
        _ => own,
    });
    parents.collect()
}

/// Cgroups of checks that `maker` has made.
fn cgroups_of(maker: u32) -> Vec<PathBuf> {
    let begins = format!("lab.{maker}.");
    let is_its = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&begins)
    };
    let parents = parents();
    let children = parents.iter().flat_map(|it| cgroups::children(it));
    children.filter(is_its).collect()
}

fn what_a_killed_check_has_left_is_swept() {
    // Above all numbers that a process can have.
    let nobody = 1 << 30;
    for parent in parents() {
        let left = parent.join(format!("lab.{nobody}.0/below"));
        fs::create_dir_all(left).expect("we are root");
    }
    assert!(!cgroups_of(nobody).is_empty());
    sandbox::run(Path::new("/bin/true"), "true", &[])
        .expect("this machine has user namespaces");
    assert!(cgroups_of(nobody).is_empty());
}

fn an_interrupted_check_leaves_no_cgroup() {
    let own = std::process::id();
    let interrupt = thread::spawn(move || {
        let start = Instant::now();
        while cgroups_of(own).is_empty() && start.elapsed().as_secs() < 5 {
            thread::sleep(Duration::from_millis(5));
        }
        let seen = !cgroups_of(own).is_empty();
        kill(Pid::this(), Signal::SIGINT).expect("it is us");
        seen
    });
    let interrupted = sandbox::run(Path::new("/bin/true"), "sleep 60", &[]);
    assert!(interrupt.join().expect("no panic"), "there was no cgroup");
    assert!(interrupted.is_err());
    assert!(sandbox::is_interrupted());
    assert!(cgroups_of(own).is_empty());
}

fn become_nobody() {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[]).expect("we are root");
    setresgid(gid, gid, gid).expect("we are root");
    // Root stays in reserve, to clean up.
    setresuid(uid, uid, Uid::from_raw(0)).expect("we are root");
    // Or our own files in /proc would still be root's.
    prctl::set_dumpable(true).expect("it is our own");
}

/// A directory that is removed in the end.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let root = Uid::from_raw(0);
        let _ = setresuid(root, root, root);
        let _ = fs::remove_dir_all(&self.0);
    }
}
