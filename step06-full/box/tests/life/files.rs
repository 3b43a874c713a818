//! The files of a container, and its namespaces, from outside.

use std::{fs, os::fd::AsFd, os::unix::fs::symlink, path::Path};

use common::host::files::path_of;
use harness::{Test, claims};
use step06_life::{Container, Place};

use crate::world::World;

pub(crate) const TESTS: &[Test] = claims![
    files_go_in_and_out,
    a_file_that_grows_brings_nothing_along,
    files_go_in_and_out_of_what_has_ended,
    a_link_of_the_container_leads_nowhere_else,
    a_monitor_hands_out_the_namespaces,
];

fn files_go_in_and_out() {
    let world = World::new();
    world.start("web", "echo ready; exec sleep 100");
    world.wait_for("web", "ready");
    let host = tempfile::tempdir().expect("a directory");
    let path = |name: &str| host.path().join(name);
    fs::create_dir_all(path("dir/sub")).expect("made");
    fs::write(path("dir/sub/file"), "text").expect("written");
    symlink("sub/file", path("dir/link")).expect("made");
    let text = |path: &Path| path.to_str().expect("text").to_owned();

    world.says(["cp", &text(&path("dir")), "web:/tmp"]);
    world.says(["cp", &text(&path("dir/sub/file")), "web:/tmp/renamed"]);
    world.says(["cp", "web:/tmp/dir", &text(&path("copy"))]);
    world.says(["cp", "web:/tmp/renamed", &text(host.path())]);
    let read = |name: &str| fs::read_to_string(path(name)).expect(name);
    assert_eq!(read("copy/sub/file"), "text");
    assert_eq!(read("copy/link"), "text");
    assert!(path("copy/link").is_symlink());
    assert_eq!(read("renamed"), "text");

    let (code, said) = world.fails(["cp", "web:/no/such", "/tmp"]);
    assert!(code == 1 && said.contains("ENOENT"), "{said}");
    let (code, said) = world.fails(["cp", &text(&path("dir")), "web:/no/x"]);
    assert!(code == 1 && said.contains("ENOENT"), "{said}");
}

/// A file that grows while it is read ends where its header says: what comes
/// behind it is no file that nobody has asked for.
fn a_file_that_grows_brings_nothing_along() {
    let world = World::new();
    let host = tempfile::tempdir().expect("a directory");
    let dir = host.path().join("dir");
    fs::create_dir(&dir).expect("made");
    let bad = host.path().join("bad");
    let mut archive = tar::Builder::new(fs::File::create(&bad).expect("it"));
    let file = Path::new("/etc/passwd");
    archive
        .append_path_with_name(file, "other")
        .expect("it is there");
    archive.finish().expect("it is written");
    // At one moment it has no size, and at the next it is an archive.
    let script = "cd /tmp; mkdir a b; echo more > a/other
        echo ready; until [ -e bad ]; do sleep 0.01; done
        while true; do cat bad > b/log; : > b/log; done";
    world.start("web", script);
    world.wait_for("web", "ready");
    world.says(["cp", bad.to_str().expect("text"), "web:/tmp"]);
    for _ in 0..20 {
        let copied = world.run(["cp", "web:/tmp/b", dir.to_str().expect("it")]);
        assert!(copied.status.success(), "{copied:?}");
    }
    assert_eq!(fs::read_dir(&dir).expect("it").count(), 1);
    assert!(dir.join("b/log").exists());
    // A device is no file that could be made here.
    let null = ["cp", "web:/dev/null", dir.to_str().expect("text")];
    let said = String::from_utf8(world.run(null).stderr).expect("text");
    assert!(said.contains("left out"), "{said}");
    assert!(!dir.join("null").exists());
    // What has no size, and yet has text.
    let to = dir.join("cpuinfo");
    world.says(["cp", "web:/proc/cpuinfo", to.to_str().expect("text")]);
    // What is in a directory, and an archive.
    let to = dir.to_str().expect("text");
    world.says(["cp", "web:/tmp/a/.", to]);
    assert!(dir.join("other").exists());
    let archive = world.run(["cp", "web:/tmp/a", "-"]).stdout;
    let mut archive = tar::Archive::new(&archive[..]);
    let entries = archive.entries().expect("an archive");
    assert_eq!(entries.count(), 2);
}

/// There is nobody to enter: the same root is put together once more.
fn files_go_in_and_out_of_what_has_ended() {
    let world = World::new();
    let host = tempfile::tempdir().expect("a directory");
    let path = |name: &str| host.path().join(name).display().to_string();
    fs::create_dir(path("volume")).expect("made");
    fs::write(path("file"), "new").expect("written");
    let (out, volume) = (path(""), path("volume") + ":/volume");
    let script = format!("echo text > /kept; ln -s {out} /out; cat /in");
    let run = ["run", "-d", "--name", "web", "--volume", &volume, "-"];
    world.says([&run[..], &["sh", "-c", &script]].concat());
    world.says(["wait", "web"]);

    world.says(["cp", "web:/kept", &path("kept")]);
    assert_eq!(fs::read_to_string(path("kept")).expect("it"), "text\n");
    world.says(["cp", &path("file"), "web:/in"]);
    world.says(["cp", &path("file"), "web:/volume"]);
    assert!(Path::new(&path("volume/file")).exists());
    // Its links lead nowhere else.
    let (code, said) = world.fails(["cp", &path("file"), "web:/out/other"]);
    assert!(code == 1 && said.contains("ENOENT"), "{said}");
    assert!(!Path::new(&path("other")).exists());
    let (code, said) = world.fails(["cp", "web:/no/such", &out]);
    assert!(code == 1 && said.contains("ENOENT"), "{said}");
    // It has not run meanwhile, and finds what was copied when it does.
    assert!(world.says(["ps", "-a"]).contains("Exited (1)"));
    world.says(["start", "web"]);
    world.wait_for("web", "new");
    world.says(["wait", "web"]);
    world.says(["rm", "web"]);
    world.assert_no_trace();
}

/// Whoever follows a link of the container's follows it inside.
fn a_link_of_the_container_leads_nowhere_else() {
    let world = World::new();
    let host = tempfile::tempdir().expect("a directory");
    let victim = host.path().join("victim");
    fs::write(&victim, "old").expect("written");
    let out = host.path().display();
    world.start(
        "web",
        &format!(
            "ln -s / /tmp/root; ln -s {out} /tmp/out; mkdir /tmp/dir; \
             ln -s {out} /tmp/dir/out; ln -s {out}/victim /tmp/file; \
             echo ready; exec sleep 100"
        ),
    );
    world.wait_for("web", "ready");
    let new = host.path().join("new");
    fs::write(&new, "new").expect("written");
    let new = new.to_str().expect("text");

    world.says(["cp", new, "web:/tmp/root/name"]);
    assert!(!Path::new("/name").exists());
    world.fails(["cp", new, "web:/tmp/out/victim"]);
    world.says(["cp", new, "web:/tmp/file"]);
    assert_eq!(fs::read_to_string(&victim).expect("it"), "old");
    // And one that comes along is a link of the host's now, but not followed.
    let copy = host.path().join("copy");
    world.says(["cp", "web:/tmp/dir", copy.to_str().expect("text")]);
    assert!(copy.join("out").is_symlink());
    assert_eq!(fs::read_dir(host.path()).expect("it").count(), 3);
}

/// What whoever wants to enter gets: as a plain user, too.
fn a_monitor_hands_out_the_namespaces() {
    let world = World::new();
    world.start("web", "exec sleep 100");
    let store = world.store.path();
    let place = Place::open(store, &store.join("run")).expect("it is there");
    let container = Container::find(&place, "web").expect("it is there");
    let all = container.namespaces().expect("they are handed out");
    let list = [
        ("user", all.user.as_fd()),
        ("pid", all.pid.as_fd()),
        ("mnt", all.mnt.as_fd()),
        ("net", all.net.as_fd()),
        ("uts", all.uts.as_fd()),
        ("ipc", all.ipc.as_fd()),
    ];
    for (kind, opened) in list {
        let theirs = path_of(&opened).expect("it is open");
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).expect(kind);
        let theirs = theirs.file_name().expect("a name").to_owned();
        assert!(theirs.to_string_lossy().starts_with(kind), "{theirs:?}");
        assert_ne!(theirs, ours.as_os_str());
    }
    let error = container.ask("nonsense").expect_err("it is refused");
    assert!(error.to_string().contains("no such request"), "{error}");
    world.says(["rm", "-f", "web"]);
    container.namespaces().expect_err("it is gone");
}
