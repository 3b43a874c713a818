//! A containerd of the test's own: in namespaces of its own, so that nothing of
//! it is left when its first process is killed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use harness::skip;
use tempfile::TempDir;

use crate::image;

/// What the test needs, and Debian's package of it.
const PROGRAMS: [(&str, &str); 3] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("nsenter", "util-linux"),
];

/// A running containerd.
pub(crate) struct Containerd {
    /// The process outside. Number 1 of the namespace dies with it.
    process: Child,
    /// Number 1 of the namespace.
    inside: String,
    pub(crate) place: TempDir,
    /// What namespaces of containerd and parents of cgroups are called.
    pub(crate) name: String,
}

/// The runtime: ours, or, to compare it, another one.
pub(crate) fn runtime() -> PathBuf {
    env::var_os("STEP06_OCI")
        .map_or_else(|| env!("CARGO_BIN_EXE_step06-oci").into(), PathBuf::from)
}

fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(more)
        .any(|directory| directory.join(name).is_file())
}

impl Containerd {
    /// Starts it, with both images in it.
    pub(crate) fn start() -> Containerd {
        harness::needs::root();
        for (program, package) in PROGRAMS {
            if !has_program(program) {
                skip(&format!("needs {program} (package {package})"));
            }
        }
        // The path of a socket has at most 107 bytes.
        let place = tempfile::Builder::new().prefix("cd").tempdir_in("/tmp");
        let place = place.expect("a directory");
        let name = place.path().file_name().expect("it has a name");
        let name = format!("step06-{}", name.to_string_lossy());
        write_config(place.path());
        image::write(&place.path().join("images.tar"));
        let log = fs::File::create(place.path().join("log"));
        let log = log.expect("the place is ours");
        // Its runtime's state is below /run, whatever the configuration says,
        // and that of the networks is below /var/lib.
        let script = "mount -t tmpfs run /run && mkdir /run/netns &&
            mount -t tmpfs lib /var/lib && ip link set lo up || exit
            containerd --config \"$0/config.toml\" & wait $!";
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", script])
            .arg(place.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("setpriv is there");
        let mut containerd = Containerd {
            process,
            inside: String::new(),
            place,
            name,
        };
        containerd.wait();
        containerd
    }

    /// Waits until it answers, and brings the images.
    fn wait(&mut self) {
        let start = Instant::now();
        let pid = self.process.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        loop {
            let inside = fs::read_to_string(&children).unwrap_or_default();
            inside.trim().clone_into(&mut self.inside);
            if !self.inside.is_empty()
                && self.ctr_of("default", &["version"]).status.success()
            {
                break;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "containerd does not answer: {}",
                self.log()
            );
            sleep(Duration::from_millis(100));
        }
        let images = self.place.path().join("images.tar");
        let images = images.to_str().expect("it is a text");
        for namespace in [&self.name, "k8s.io"] {
            let arguments =
                ["image", "import", "--snapshotter", "native", images];
            let output = self.ctr_of(namespace, &arguments);
            assert!(output.status.success(), "{output:?}");
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.path().join("c.sock")
    }

    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.place.path().join("log"));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }

    /// A command in the namespaces of containerd.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.inside, "--mount", "--net", "--pid"])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Calls ctr(8) for the namespace `namespace` of containerd's.
    fn ctr_of(&self, namespace: &str, arguments: &[&str]) -> Output {
        self.command("ctr")
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", namespace])
            .args(arguments)
            .output()
            .expect("ctr is there")
    }

    /// Calls ctr(8) in the test's own namespace.
    pub(crate) fn ctr(&self, arguments: &[&str]) -> Output {
        let name = self.name.as_str();
        harness::note(format!("ctr {}", arguments.join(" ")));
        let output = self.ctr_of(name, arguments);
        harness::note(format!("{output:?}"));
        output
    }

    /// What ctr prints, when all goes well.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output = self.ctr(arguments);
        assert!(output.status.success(), "{output:?}\n{}", self.log());
        String::from_utf8(output.stdout).expect("a text")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // All below it is dead by now, or is about to be. The cgroups that
        // containerd named are above those that the runtime removes.
        for _ in 0..100 {
            if remove_cgroups(&self.name) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// Removes the cgroups of this name in all trees; whether none is left.
fn remove_cgroups(name: &str) -> bool {
    let top = Path::new("/sys/fs/cgroup");
    let trees = fs::read_dir(top).into_iter().flatten().flatten();
    let trees = trees.map(|entry| entry.path()).chain([top.to_owned()]);
    let mut is_gone = true;
    for cgroup in trees.map(|tree| tree.join(name)) {
        remove_tree(&cgroup);
        is_gone &= !cgroup.exists();
    }
    is_gone
}

fn remove_tree(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

/// What the book tells readers to write, about the runtime that is tested.
fn lines_of_the_book() -> String {
    let page = include_str!("../../../../book/src/kubernetes.md");
    let (_, rest) = page.split_once("```toml\n").expect("there are lines");
    let (lines, _) = rest.split_once("```").expect("they end");
    let runtime = runtime().display().to_string();
    let tested = lines.replace("/usr/local/bin/step06-oci", &runtime);
    assert_ne!(lines, tested);
    tested
}

fn write_config(place: &Path) {
    let at = place.display();
    let cri = r#"plugins."io.containerd.grpc.v1.cri""#;
    let config = format!(
        r#"version = 2
root = "{at}/root"
state = "{at}/state"
[debug]
level = "warn"
[grpc]
address = "{at}/c.sock"
[{cri}]
# Not every root may protect processes from the OOM killer.
restrict_oom_score_adj = true
sandbox_image = "{pause}"
[{cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{at}/cni"
[{cri}.containerd]
snapshotter = "native"
{runtime}
[plugins."io.containerd.internal.v1.opt"]
path = "{at}/opt"
"#,
        pause = image::PAUSE,
        runtime = lines_of_the_book(),
    );
    fs::write(place.join("config.toml"), config).expect("the place is ours");
    fs::create_dir(place.join("cni")).expect("the place is ours");
    let network = format!(
        r#"{{"cniVersion": "0.4.0", "name": "test", "plugins": [{{
"type": "bridge", "bridge": "test0", "isGateway": true,
"ipam": {{"type": "host-local", "dataDir": "{at}/ipam",
"ranges": [[{{"subnet": "10.99.0.0/24"}}]]}}}}]}}"#
    );
    let file = place.join("cni/10-test.conflist");
    fs::write(file, network).expect("the place is ours");
}
