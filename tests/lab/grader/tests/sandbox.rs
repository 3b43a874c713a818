//! A sandbox that a plain user has made: its root is that user outside, who may
//! write to what nobody else can even see.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::ExitCode,
};

use lab::sandbox;
use nix::{
    sys::prctl,
    unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid},
};

/// Who that is here.
const NOBODY: u32 = 65534;

/// Not the standard harness: a sandbox starts this program once more.
fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [verb, program, _, script] = &arguments[..]
        && verb == "in-sandbox"
    {
        let code = sandbox::enter(Path::new(program), script);
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
    what_the_grader_owns_is_not_changed(&place.0);
    println!("ok: what the grader owns is not changed");
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
