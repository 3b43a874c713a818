//! Images from a registry, as registries are: they want tokens, send one
//! elsewhere, and hang up.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use harness::{Test, claims};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use step06_image::Digest;

use crate::{
    image::{Image, archive, box_program, file, tool},
    server::{Request, Server},
};

pub(crate) const TESTS: &[Test] = claims![
    a_token_is_fetched_and_shown_to_nobody_else,
    a_password_is_that_of_docker_login,
    a_pull_goes_on_where_it_was_cut,
    an_image_is_the_one_that_was_asked_for,
    of_several_machines_this_one_is_chosen,
    eight_at_once_fetch_once,
    one_that_is_killed_leaves_what_can_be_resumed,
    what_nobody_has_any_more_goes,
    whom_it_waits_for_is_said,
];

/// A registry with an image of one layer, about so long.
fn registry(bytes: usize) -> (Server, Image) {
    let image = Image::new(&[archive(&[file("a", &"x".repeat(bytes))])]);
    let server = Server::start();
    let manifest = image.manifest.to_string();
    server.push(&image.layout(), manifest.as_bytes(), "test/image");
    (server, image)
}

fn pull(server: &Server, image: &Image, tag: &str) -> Result<(), String> {
    let name = format!("{}/test/image{tag}", server.host);
    outcome(&tool(&image.path().join("store"), ["pull", &name]))
}

fn outcome(output: &Output) -> Result<(), String> {
    match output.status.code() {
        Some(0) => Ok(()),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// What was asked for below this path.
fn blobs(server: &Server) -> Vec<Request> {
    let mut asked = server.asked();
    asked.retain(|it| it.path.contains("/blobs/"));
    asked
}

fn a_token_is_fetched_and_shown_to_nobody_else() {
    let (server, image) = registry(1000);
    let elsewhere = Server::start();
    server.wants_token("secret");
    server.has_blobs_at(&elsewhere);
    pull(&server, &image, "").expect("anybody gets a token");
    assert!(image.layers()[0].join("a").exists());

    let asked = server.asked();
    let token = asked.iter().find(|it| it.path.starts_with("/token"));
    let query = &token.expect("it was asked for a token").path;
    assert!(query.contains("service=test") && query.contains("scope=pull"));
    let shown = |it: &&Request| it.authorization.is_some();
    assert!(asked.iter().any(|it| shown(&it)), "{asked:?}");
    let elsewhere = elsewhere.asked();
    assert!(!elsewhere.is_empty(), "it has the blobs");
    assert_eq!(elsewhere.iter().find(shown).map(|it| &it.path), None);
}

fn a_password_is_that_of_docker_login() {
    let (server, image) = registry(1000);
    server.wants_login("YW5uOnNlY3JldA==");
    let error = pull(&server, &image, "").expect_err("nobody has logged in");
    assert!(error.contains("docker login"), "{error}");

    let config = image.path().join("docker");
    fs::create_dir(&config).expect("mkdir");
    let auths = json!({ &server.host: { "auth": "YW5uOnNlY3JldA==" } });
    let text = json!({ "auths": auths }).to_string();
    fs::write(config.join("config.json"), text).expect("write");
    let output = Command::new(box_program())
        .env("DOCKER_CONFIG", &config)
        .arg("--store")
        .arg(image.path().join("store"))
        .args(["pull", &format!("{}/test/image", server.host)])
        .output()
        .expect("box runs");
    outcome(&output).expect("ann has logged in");
}

fn a_pull_goes_on_where_it_was_cut() {
    let (server, image) = registry(500_000);
    server.cuts_after(300_000);
    pull(&server, &image, "").expect_err("the line was cut");
    let left = |dir: &str| {
        let dir = image.path().join("store").join(dir);
        fs::read_dir(dir).expect("it is there").count()
    };
    assert_eq!((left("blobs"), left("layers")), (1, 0), "what came is kept");
    pull(&server, &image, "").expect("the second time it holds");
    let ranges = blobs(&server);
    let ranges = ranges.iter().filter_map(|it| it.range.as_deref());
    let [range] = ranges.collect::<Vec<_>>()[..] else {
        panic!("one request goes on")
    };
    assert!(
        range.starts_with("bytes=") && range != "bytes=0-",
        "{range}"
    );
    assert_eq!(left("blobs"), 0, "what is unpacked is not kept twice");
}

fn an_image_is_the_one_that_was_asked_for() {
    let (server, image) = registry(1000);
    let manifest = image.manifest.to_string();
    let digest = Digest::of(&manifest);
    pull(&server, &image, &format!("@{digest}")).expect("it has this one");

    // The same name, and something else behind it.
    let other = Digest::of("other");
    server.push_index("test/image", &other.to_string(), &manifest);
    let error = pull(&server, &image, &format!("@{other}"));
    let error = error.expect_err("it is not what was asked for");
    assert!(error.contains("its digest should be"), "{error}");
}

fn of_several_machines_this_one_is_chosen() {
    let (server, image) = registry(1000);
    let manifest = image.manifest.to_string();
    let ours = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let entry = |architecture: &str, digest: &Digest| {
        json!({
            "digest": digest.to_string(), "size": manifest.len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let wrong = Digest::of("wrong");
    let right = Digest::of(&manifest);
    let all = [entry("s390x", &wrong), entry(ours, &right)];
    let index = json!({ "schemaVersion": 2, "manifests": all }).to_string();
    server.push_index("test/image", "multi", &index);
    pull(&server, &image, ":multi").expect("there is one for this machine");

    let index =
        json!({ "manifests": [entry("s390x", &wrong), entry("arm", &wrong)] });
    server.push_index("test/image", "others", &index.to_string());
    let error = pull(&server, &image, ":others").expect_err("there is none");
    assert!(error.contains("linux/s390x, linux/arm"), "{error}");
}

fn eight_at_once_fetch_once() {
    let (server, image) = registry(200_000);
    let all = thread::scope(|scope| {
        let pulls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| pull(&server, &image, "")))
            .collect();
        let join = |it: thread::ScopedJoinHandle<_>| it.join().expect("ended");
        pulls.into_iter().map(join).collect::<Vec<_>>()
    });
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let layer = image.manifest["layers"][0]["digest"].as_str();
    let layer = layer.expect("a digest");
    let asked = blobs(&server);
    let asked = asked.iter().filter(|it| it.path.contains(layer));
    assert_eq!(asked.count(), 1, "the layer was fetched once");
}

fn one_that_is_killed_leaves_what_can_be_resumed() {
    let (server, image) = registry(2_000_000);
    let name = format!("{}/test/image", server.host);
    let store = image.path().join("store");
    for delay in (0..60).step_by(3) {
        let mut pull = Command::new(box_program())
            .arg("--store")
            .arg(&store)
            .args(["pull", &name])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("box runs");
        thread::sleep(Duration::from_millis(delay));
        pull.kill().expect("kill");
        pull.wait().expect("wait");
    }
    pull(&server, &image, "").expect("in the end it comes");
    let file = fs::read(image.layers()[0].join("a")).expect("it is there");
    assert_eq!(file.len(), 2_000_000);
    let new = |path: &Path| path.extension().is_some_and(|it| it == "new");
    let layers = fs::read_dir(store.join("layers")).expect("there");
    let left = layers.flatten().filter(|it| new(&it.path())).count();
    assert_eq!(left, 0, "what was begun is gone");
}

fn what_nobody_has_any_more_goes() {
    let (server, image) = registry(1000);
    pull(&server, &image, "").expect("it is there");
    let store = image.path().join("store");
    let name = format!("{}/test/image", server.host);
    let layers = || fs::read_dir(store.join("layers")).expect("there").count();
    assert_eq!(layers(), 1);
    // Somebody else has the same layer under another name.
    image.pull().expect("it is legal");
    outcome(&tool(&store, ["rmi", &name])).expect("it is there");
    assert_eq!(layers(), 1, "it is still the other one's");
    let other = image.reference();
    outcome(&tool(&store, ["rmi", &other])).expect("it is there");
    assert_eq!(layers(), 0);
    outcome(&tool(&store, ["rmi", &other])).expect_err("it is gone");
}

/// A pull may take as long as the line does. Whoever waits for it hears so.
fn whom_it_waits_for_is_said() {
    let image = Image::new(&[archive(&[file("a", "x")])]);
    image.pull().expect("it is legal");
    let store = image.path().join("store");
    // Who never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind");
    let name = format!("{}/a", silent.local_addr().expect("an address"));
    let box_ = |arguments: &[&str]| {
        let mut command = Command::new(box_program());
        command.arg("--store").arg(&store).args(arguments);
        command.stderr(Stdio::piped()).spawn().expect("box runs")
    };
    let mut pull = box_(&["pull", &name]);
    let (mut asked, _) = silent.accept().expect("it asks");
    asked.read_exact(&mut [0; 16]).expect("it has asked");
    let there = image.reference();
    for waits in [&["prune"][..], &["rmi", &there]] {
        let mut waits = box_(waits);
        let mut line = String::new();
        let said = waits.stderr.take().expect("a pipe");
        BufReader::new(said).read_line(&mut line).expect("a line");
        let process = format!("pull {name} (process {})\n", pull.id());
        assert!(line.starts_with("waiting for "), "{line}");
        assert!(line.ends_with(&process), "{line}");
        let pid = Pid::from_raw(waits.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("it is there");
        let ended = waits.wait().expect("it ends");
        assert_eq!(ended.signal(), Some(Signal::SIGINT as i32));
    }
    pull.kill().expect("ours");
    pull.wait().expect("it ends");
    // Nothing has happened yet: it can be asked for once more.
    outcome(&tool(&store, ["rmi", &there])).expect("it is still there");
    let layers = fs::read_dir(store.join("layers")).expect("there").count();
    assert_eq!(layers, 0);
}
