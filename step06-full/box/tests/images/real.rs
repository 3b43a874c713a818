//! Images as others make them, hand them out, and save them: by umoci(1),
//! skopeo(1), and the registry of Debian's package `docker-registry`.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use harness::{Test, claims, needs, wait_until};

use crate::image::{
    archive, box_program, dir, file, hard_link, link, special, tool,
};

pub(crate) const TESTS: &[Test] = claims![
    an_image_is_the_same_from_everywhere,
    a_pull_goes_on_when_the_registry_comes_back,
];

/// Runs a program of the host, in `place`.
fn run(place: &Path, program: &str, arguments: &[&str]) {
    let mut command = Command::new(needs::tool(program));
    let output = command.args(arguments).current_dir(place).output();
    let output = output.expect(program);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

/// `img:latest`, a layout of the OCI in `place`, with these layers.
fn make(place: &Path, layers: &[Vec<u8>]) {
    run(place, "umoci", &["init", "--layout", "img"]);
    run(place, "umoci", &["new", "--image", "img"]);
    for layer in layers {
        fs::write(place.join("layer.tar"), layer).expect("written");
        let add = ["raw", "add-layer", "--image", "img", "layer.tar"];
        run(place, "umoci", &add);
    }
}

/// A registry on this machine, which ends with the test.
struct Registry {
    address: String,
    program: Child,
}

impl Registry {
    fn start(place: &Path) -> Registry {
        let free = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        Registry::start_at(place, address)
    }

    fn start_at(place: &Path, address: String) -> Registry {
        let config = format!(
            "version: 0.1\nhttp: {{addr: \"{address}\"}}\n\
             storage: {{filesystem: {{rootdirectory: {}/storage}}}}\n\
             log: {{level: error}}\n",
            place.display()
        );
        fs::write(place.join("registry.yml"), config).expect("written");
        let mut program = Command::new(needs::tool("docker-registry"));
        program.args(["serve", "registry.yml"]).current_dir(place);
        // One line for each request.
        let log = fs::File::create(place.join("log")).expect("created");
        program.stdout(log).stderr(Stdio::null());
        let program = program.spawn().expect("docker-registry runs");
        wait_until("the registry listens", || {
            TcpStream::connect(&address).ok().map(drop)
        });
        Registry { address, program }
    }

    fn push(&self, place: &Path) {
        let to = format!("docker://{}/some/image", self.address);
        let copy = ["copy", "--dest-tls-verify=false", "oci:img:latest", &to];
        run(place, "skopeo", &copy);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// What the layers of a store are, with all that is in them, to be compared: of
/// the times, the years, since of some files no archive says one.
fn layers(store: &Path) -> String {
    let find = Command::new("find")
        .args([".", "-printf", "%p %y %m %U %G %n %s %TY %l\n"])
        .current_dir(store.join("layers"))
        .output()
        .expect("find(1) is there");
    let text = String::from_utf8_lossy(&find.stdout);
    let mut lines: Vec<&str> =
        text.lines().filter(|it| !it.starts_with(". ")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn an_image_is_the_same_from_everywhere() {
    let temporary = tempfile::tempdir().expect("a directory");
    let place = temporary.path();
    let below = [
        dir("etc"),
        file("etc/name", "below"),
        file("etc/gone", "x"),
        hard_link("etc/twin", "etc/name"),
        dir("var"),
        link("var/link", "../etc/name"),
        special("pipe", tar::EntryType::Fifo),
    ];
    let above = [file("etc/name", "above"), file("etc/.wh.gone", "")];
    make(place, &[archive(&below), archive(&above)]);
    let copy = |to: &str| {
        run(place, "skopeo", &["copy", "oci:img:latest", to]);
    };
    copy("dir:files");
    copy("docker-archive:saved.tar:some/image:latest");
    let registry = Registry::start(place);
    registry.push(place);
    let path = place.display();
    let sources = [
        format!("oci:{path}/img:latest"),
        format!("dir:{path}/files"),
        format!("docker-archive:{path}/saved.tar"),
        format!("{}/some/image", registry.address),
    ];
    let pulled = sources.iter().enumerate().map(|(number, source)| {
        let store = place.join(format!("store{number}"));
        let output = tool(&store, ["pull", source]);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(r#"left out: "/pipe""#), "{said}");
        layers(&store)
    });
    let pulled: Vec<String> = pulled.collect();
    assert!(pulled[0].lines().count() > 8, "{}", pulled[0]);
    for (other, source) in pulled.iter().zip(&sources) {
        assert_eq!(*other, pulled[0], "{source}");
    }
}

/// What had come is not fetched once more.
fn a_pull_goes_on_when_the_registry_comes_back() {
    const SIZE: usize = 64 << 20;
    let temporary = tempfile::tempdir().expect("a directory");
    let place = temporary.path();
    let mut random = harness::random();
    // Which nobody can compress.
    let mut data = Vec::with_capacity(SIZE);
    while data.len() < SIZE {
        data.extend(random.below(u64::MAX).to_le_bytes());
    }
    let mut big = file("big", "");
    big.data = data;
    make(place, &[archive(&[big])]);
    let mut registry = Registry::start(place);
    registry.push(place);
    let name = format!("{}/some/image", registry.address);
    let store = place.join("store");
    let partial = || {
        let blobs = fs::read_dir(store.join("blobs")).ok()?;
        let mut paths = blobs.flatten().map(|it| it.path());
        let path = paths.find(|it| it.extension().is_some())?;
        let length = fs::metadata(path).ok()?.len();
        (length > 0).then_some(length)
    };
    let mut pull = Command::new(box_program());
    pull.arg("--store").arg(&store).args(["pull", &name]);
    let pull = pull.stderr(Stdio::piped()).spawn().expect("box runs");
    wait_until("the first bytes", partial);
    drop(registry);
    let output = pull.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let length = partial().expect("something has come");
    harness::note(format!("{length} bytes had come"));
    registry = Registry::start_at(place, name.replace("/some/image", ""));
    let output = tool(&store, ["pull", &name]);
    assert!(output.status.success(), "{output:?}");
    let log = fs::read_to_string(place.join("log")).expect("it is written");
    assert!(log.contains("\" 206 "), "no part was asked for: {log}");
    drop(registry);
}
