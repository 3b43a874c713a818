//! What an image says about its commands, and what the caller says instead.

use std::{
    env,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
};

use harness::{Test, claims};
use serde_json::{Value, json};

use crate::image::{Image, archive, box_program, file, tool};

pub(crate) const TESTS: &[Test] = claims![
    a_command_is_that_of_the_image_or_ones_own,
    without_a_command_there_is_none,
    a_user_is_the_containers,
    an_image_that_is_in_use_can_be_used_once_more,
];

/// An image of this machine's own tools, with these words about its commands.
fn image(says: Value) -> Image {
    let passwd =
        "root:x:0:0::/root:/bin/sh\nann:x:1000:100::/home/ann:/bin/sh\n";
    let group = "root:x:0:\nusers:x:100:\nwww:x:33:ann\n";
    let files = [file("etc/passwd", passwd), file("etc/group", group)];
    let mut image = Image::new(&[tools(), archive(&files)]);
    image.config["config"] = says;
    image.seal();
    image
}

/// The default root file system, which `box` makes when it runs without an image.
fn tools() -> Vec<u8> {
    // Closed to others, whatever the umask is.
    let mode = Permissions::from_mode(0o700);
    let mut store = tempfile::Builder::new();
    let store = store.permissions(mode).tempdir().expect("a directory");
    let output = tool(store.path(), ["run", "-", "true"]);
    assert!(output.status.success(), "{output:?}");
    let cache = match nix::unistd::geteuid().is_root() {
        true => PathBuf::from("/var/cache"),
        false => env::var_os("XDG_CACHE_HOME").map_or_else(
            || PathBuf::from(env::var_os("HOME").expect("HOME")).join(".cache"),
            PathBuf::from,
        ),
    };
    let root = cache.join("container-in-six-steps/box/rootfs");
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    // Its files are the caller's; in an image they are root's.
    tar.mode(tar::HeaderMode::Deterministic);
    tar.append_dir_all("", root).expect("it is readable");
    tar.into_inner().expect("it is complete")
}

impl Image {
    fn run(&self, options: &[&str], command: &[&str]) -> Output {
        let reference = self.reference();
        let mut arguments = vec!["run"];
        arguments.extend(options);
        arguments.push(&reference);
        arguments.extend(command);
        self.tool(&arguments)
    }

    /// What a run prints that goes well.
    fn says(&self, options: &[&str], command: &[&str]) -> String {
        let output = self.run(options, command);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.trim_end().to_owned()
    }

    fn fails(&self, options: &[&str], command: &[&str]) -> (i32, String) {
        let output = self.run(options, command);
        let text = String::from_utf8(output.stderr).expect("text");
        (output.status.code().expect("a code"), text)
    }
}

fn a_command_is_that_of_the_image_or_ones_own() {
    let image = image(json!({
        "Entrypoint": ["echo", "from"], "Cmd": ["the", "image"],
        "Env": ["A=1", "B=two words"], "WorkingDir": "/tmp",
    }));
    assert_eq!(image.says(&[], &[]), "from the image");
    assert_eq!(image.says(&[], &["me"]), "from me");
    assert_eq!(image.says(&["--entrypoint", "pwd"], &[]), "/tmp");
    let sh = ["--entrypoint", "sh"];
    let shell = |more: &[&str], script: &str| {
        image.says(&[&sh, more].concat(), &["-c", script])
    };
    assert_eq!(shell(&[], "echo $A $B $HOME"), "1 two words /root");
    assert_eq!(shell(&["--env", "A=mine"], "echo $A"), "mine");
    assert_eq!(shell(&["--workdir", "/etc"], "pwd"), "/etc");
}

fn without_a_command_there_is_none() {
    let image = image(json!(null));
    let (code, text) = image.fails(&[], &[]);
    assert_eq!(code, 125, "{text}");
    assert!(text.contains("the image has no command"), "{text}");
    assert_eq!(image.says(&[], &["echo", "mine"]), "mine");
    assert_eq!(image.fails(&[], &["nothing"]).0, 127);
}

/// Names are the container's, and so are the numbers, if it has them.
fn a_user_is_the_containers() {
    let image = image(json!({ "User": "ann" }));
    let ids = image.says(&["--user", "0"], &["cat", "/proc/self/uid_map"]);
    let has_ann = ids.lines().any(|line| {
        let fields = line.split_whitespace().map(str::parse::<u64>);
        let fields: Vec<u64> = fields.map(|it| it.expect("a number")).collect();
        (fields[0]..fields[0] + fields[2]).contains(&1000)
    });
    let id = "id -u; id -g; id -G; echo $HOME";
    if has_ann {
        let ann = image.says(&[], &["sh", "-c", id]);
        assert_eq!(ann, "1000\n100\n100 33\n/home/ann");
        let other = image.says(&["--user", "7:www"], &["sh", "-c", id]);
        assert_eq!(other, "7\n33\n33\n/");
        // Not even to hand: what root may do, ann may not.
        let shadow = image.fails(&[], &["sh", "-c", "echo x > /etc/new"]);
        assert_ne!(shadow.0, 0);
        let root = ["--user", "root"];
        image.says(&root, &["sh", "-c", "echo x > /etc/new"]);
    } else {
        let (code, text) = image.fails(&[], &["true"]);
        assert_eq!(code, 125, "{text}");
        assert!(text.contains("this container has no id"), "{text}");
    }
    let (code, text) = image.fails(&["--user", "eve"], &["true"]);
    assert_eq!(code, 125, "{text}");
    assert!(text.contains(r#"there is no user "eve""#), "{text}");
}

/// What a container uses is locked against those who would remove it. An image
/// on this machine's disk is looked at anew each time.
fn an_image_that_is_in_use_can_be_used_once_more() {
    let image = image(json!({ "Cmd": ["sh"] }));
    let options = ["-d", "--name", "first"];
    image.says(&options, &["sleep", "100"]);
    // In vain it would wait for the end of the first.
    let mut command = Command::new("timeout");
    command.arg("60").arg(box_program()).arg("--store");
    command.arg(image.path().join("store"));
    let reference = image.reference();
    let output = command.args(["run", &reference, "echo", "here"]).output();
    let output = output.expect("timeout(1) is there");
    assert_eq!(output.stdout, b"here\n", "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("waiting"), "{said}");
    let output = image.tool(&["rm", "-f", "first"]);
    assert!(output.status.success(), "{output:?}");
}
