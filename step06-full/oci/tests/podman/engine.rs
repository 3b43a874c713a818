//! One podman for all tests, with a place of its own and one image.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use harness::needs;
use tempfile::TempDir;

/// The image: this machine's own tools.
pub(crate) const IMAGE: &str = "localhost/box:1";

/// This machine may refuse what podman asks for by default: a million files.
const SETTINGS: &str = "[containers]
default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]
";

static PLACE: OnceLock<TempDir> = OnceLock::new();

fn place() -> &'static Path {
    let place = PLACE.get_or_init(|| {
        // podman wants a path of at most 50 characters, wherever TMPDIR is.
        let place = tempfile::tempdir_in("/tmp").expect("a directory");
        let path = place.path();
        fs::write(path.join("containers.conf"), SETTINGS).expect("it is ours");
        fs::create_dir(path.join("run")).expect("it is ours");
        let root = common::rootfs::find(&None).expect("there is a root");
        let archive = path.join("rootfs.tar");
        let done = Command::new("tar")
            .arg("-C")
            .arg(root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status();
        assert!(done.expect("there is a tar").success());
        let archive = archive.display().to_string();
        let output = call(path, &["import", &archive, IMAGE]);
        assert!(output.status.success(), "{output:?}");
        place
    });
    place.path()
}

/// Executes this program anew where podman's networks are nobody else's: as root
/// it makes bridges, lets the kernel forward and writes to its tables, and takes
/// little of it back. What it notes about them is below `/run`.
pub(crate) fn leave_the_hosts_network() {
    const DONE: &str = "STEP06_OCI_PODMAN_IS_ALONE";
    if !needs::is_root() || env::var_os(DONE).is_some() {
        return;
    }
    let script = "mount -t tmpfs run /run && mkdir /run/netns && exec \"$0\" \
                  \"$@\"";
    let error = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private"])
        .args(["sh", "-c", script])
        .args(env::args_os())
        .env(DONE, "1")
        .exec();
    panic!("unshare (package util-linux): {error}");
}

fn program() -> PathBuf {
    let other = env::var_os("STEP06_OCI").map(PathBuf::from);
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_step06-oci").into())
}

fn call(place: &Path, arguments: &[&str]) -> Output {
    Command::new("timeout")
        .args(["--signal=KILL", "90", "podman"])
        .arg("--root")
        .arg(place.join("root"))
        .arg("--runroot")
        .arg(place.join("run/containers"))
        .arg("--tmpdir")
        .arg(place.join("tmp"))
        .args(["--cgroup-manager", "cgroupfs", "--runtime"])
        .arg(program())
        .args(arguments)
        .env("CONTAINERS_CONF", place.join("containers.conf"))
        .env("XDG_RUNTIME_DIR", place.join("run"))
        .output()
        .expect("there is a timeout")
}

/// Calls podman.
pub(crate) fn podman(arguments: &[&str]) -> Output {
    needs::tool("podman");
    needs::tool("conmon");
    if !needs::is_root() {
        needs::tool("newuidmap");
    }
    call(place(), arguments)
}

/// What it prints, if all goes well.
pub(crate) fn says(arguments: &[&str]) -> String {
    let output = podman(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    text(&output.stdout)
}

/// What `run --rm` with these options prints of a script.
pub(crate) fn runs(options: &[&str], script: &str) -> String {
    let mut arguments = vec!["run", "--rm"];
    if !options.iter().any(|it| it.starts_with("--network")) {
        arguments.push("--network=none");
    }
    arguments.extend(options);
    arguments.extend([IMAGE, "sh", "-c", script]);
    says(&arguments)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    text.trim_end().to_owned()
}

/// A file that podman is to read.
pub(crate) fn write(name: &str, text: &str) -> String {
    let path = place().join(name);
    fs::write(&path, text).expect("it is ours");
    path.display().to_string()
}

/// Takes everything away that podman has made.
pub(crate) fn end() {
    let Some(place) = PLACE.get() else { return };
    let place = place.path();
    call(place, &["rm", "--all", "--force", "--time", "0"]);
    // What belongs to other ids only podman can remove.
    call(place, &["system", "reset", "--force"]);
    let _ = fs::remove_dir_all(place);
}
