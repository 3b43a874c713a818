//! From what a container has changed to an image.

use std::fs;

use harness::{Test, claims};

use crate::world::World;

pub(crate) const TESTS: &[Test] = claims![
    an_image_of_a_container_has_its_changes,
    an_image_can_be_made_of_such_an_image,
    a_link_of_the_container_is_not_followed_into_an_image,
];

/// The image says what the container has said, in all that a layer can hold.
fn an_image_of_a_container_has_its_changes() {
    let world = World::new();
    world.start(
        "web",
        "mkdir /new && echo text > /new/file && ln /new/file /new/twin && \
         ln -s file /new/link && chmod 4711 /new/twin && rm /etc/passwd && \
         rm -r /usr/share; mkdir -p /usr/share; echo x > /usr/share/only; \
         mkdir -m 1777 /new/open; mkfifo /new/pipe 2> /dev/null; \
         echo ready; exec sleep 100",
    );
    world.wait_for("web", "ready");
    let id = world.says(["commit", "web", "mine:1"]);
    assert!(id.starts_with("sha256:"), "{id}");
    // It goes on.
    assert_eq!(world.state("web").as_deref(), Some("running"));
    world.says(["rm", "-f", "web"]);

    let says = |script: &str| world.says(["run", "mine:1", "sh", "-c", script]);
    assert_eq!(says("cat /new/file /new/link"), "text\ntext");
    assert_eq!(says("stat -c '%a %h' /new/twin; stat -c %a /new/open"), {
        "4711 2\n1777"
    });
    assert_eq!(says("ls /etc/passwd 2> /dev/null || echo none"), "none");
    assert_eq!(says("ls /usr/share"), "only");
    assert_eq!(says("readlink /new/link"), "file");
}

fn an_image_can_be_made_of_such_an_image() {
    let world = World::new();
    for number in 1..4 {
        let below = match number {
            1 => "-".into(),
            _ => format!("mine:{}", number - 1),
        };
        let name = format!("c{number}");
        let script = format!("echo {number} >> /count; rm -f /old; > /old");
        let run = ["run", "--name", &name, &below, "sh", "-c", &script];
        world.says(run);
        world.says(["commit", &name, &format!("mine:{number}")]);
    }
    let count = world.says(["run", "mine:3", "cat", "/count"]);
    assert_eq!(count, "1\n2\n3");
    // Without a command it does what the container did.
    world.says(["run", "--name", "again", "mine:3"]);
    world.says(["commit", "again", "mine:4"]);
    let count = world.says(["run", "mine:4", "cat", "/count"]);
    assert_eq!(count, "1\n2\n3\n3");
}

/// A running container may put a link where a file or a directory was.
fn a_link_of_the_container_is_not_followed_into_an_image() {
    let world = World::new();
    let host = tempfile::tempdir().expect("a directory");
    let secret = host.path().join("secret");
    fs::write(&secret, "of the host").expect("written");
    let out = host.path().display();
    let script = format!(
        "ln -s {out} /dir; ln -s {out}/secret /file; : > /.wh.etc; echo ready; \
         while true; do rm -rf /swap; ln -s {out} /swap; rm /swap; \
         mkdir /swap; done"
    );
    world.start("web", &script);
    world.wait_for("web", "ready");
    world.says(["commit", "web", "mine"]);
    world.says(["rm", "-f", "web"]);
    let layers = world.store.path().join("layers");
    let found = std::process::Command::new("grep")
        .args(["-r", "of the host"])
        .arg(layers)
        .output()
        .expect("grep");
    assert_eq!(found.stdout, b"");
    // Nor is a file of the container's taken for a mark.
    let text = world.says(["run", "mine", "sh", "-c", "ls -d /etc"]);
    assert_eq!(text, "/etc");
}
