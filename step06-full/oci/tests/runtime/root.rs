//! The root file system and what is mounted in it.

use std::{fs, os::unix::fs::PermissionsExt};

use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    the_root_is_the_bundles_and_read_only_if_asked,
    mounts_are_made_in_their_order,
    options_are_obeyed,
    read_only_can_be_for_all_below,
    a_source_may_be_relative_to_the_bundle,
    a_tmpfs_may_begin_with_what_it_covers,
    devices_are_there_that_nobody_lists,
    devices_of_the_file_are_made,
    paths_are_masked_and_read_only,
    mounts_propagate_as_asked,
    the_cgroup_is_shown,
];

fn the_root_is_the_bundles_and_read_only_if_asked() {
    needs::root();
    let bundle = Bundle::new("echo inside > /new; ls -d /work 2>&1; exit 0");
    bundle.says();
    let written = fs::read_to_string(bundle.root().join("new"));
    assert_eq!(written.expect("it was written"), "inside\n");
    let mut bundle =
        Bundle::new("echo x > /new || echo refused; echo > /dev/x");
    bundle.config["root"]["readonly"] = json!(true);
    assert_eq!(bundle.says(), "refused");
    assert!(!bundle.root().join("new").exists());
}

fn tmpfs(place: &str, options: &[&str]) -> serde_json::Value {
    json!({"destination": place, "type": "tmpfs", "source": "tmpfs",
        "options": options})
}

fn mounts_are_made_in_their_order() {
    needs::root();
    let script = "while read a b c d e f; do case $e in /t*) echo $e; esac; \
                  done < /proc/self/mountinfo";
    let mut bundle = Bundle::new(script);
    for place in ["/t", "/t/inner", "/t2", "relative/../t3"] {
        bundle.push("/mounts", tmpfs(place, &[]));
    }
    assert_eq!(bundle.says(), "/t\n/t/inner\n/t2\n/t3");
}

fn options_are_obeyed() {
    needs::root();
    let script = "while read a b c d e f; do case $e in /t*) echo $e $f; \
                  esac; done < /proc/self/mountinfo | sort";
    let mut bundle = Bundle::new(script);
    let options = ["ro", "nosuid", "nodev", "noexec", "noatime", "size=8k"];
    bundle.push("/mounts", tmpfs("/t1", &options));
    let bind = |place: &str, options: &[&str]| {
        json!({"destination": place, "type": "none", "source": "/etc",
            "options": options})
    };
    bundle.push("/mounts", bind("/t2", &["rbind", "ro", "nosuid", "nodev"]));
    bundle.push("/mounts", bind("/t3", &["bind", "noexec", "strictatime"]));
    let said = bundle.says();
    let lines: Vec<&str> = said.lines().collect();
    let has = |line: &str, words: &[&str]| {
        let first: Vec<&str> = line
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .split(',')
            .collect();
        words.iter().all(|word| first.contains(word))
    };
    let words = ["ro", "nosuid", "nodev", "noexec", "noatime"];
    assert!(has(lines[0], &words), "{said}");
    assert!(lines[0].contains("size=8k"), "{said}");
    assert!(has(lines[1], &["ro", "nosuid", "nodev"]), "{said}");
    assert!(has(lines[2], &["noexec"]), "{said}");
    assert!(!lines[2].contains("relatime"), "{said}");
}

fn read_only_can_be_for_all_below() {
    needs::root();
    for (option, below) in [("ro", "written"), ("rro", "refused")] {
        let script = "echo > /v/new || echo refused; echo > /v/in/new && echo \
                      written || echo refused";
        let mut bundle = Bundle::new(script);
        bundle.push("/mounts", tmpfs("/s", &[]));
        // The source is the host's: one with a mount below.
        let host = tempfile::tempdir().expect("a directory");
        fs::create_dir(host.path().join("in")).expect("it is ours");
        let inner = host.path().join("in");
        let mount = format!(
            "mount -t tmpfs none {0} && exec {1} --root state run box",
            inner.display(),
            crate::bundle::program().display()
        );
        bundle.push(
            "/mounts",
            json!({"destination": "/v", "type": "bind",
                "source": host.path(), "options": ["rbind", option]}),
        );
        fs::write(bundle.path().join("config.json"), bundle.config.to_string())
            .expect("it is ours");
        let output = std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &mount])
            .current_dir(bundle.path())
            .output()
            .expect("there is unshare");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, format!("refused\n{below}\n"), "{output:?}");
    }
}

fn a_source_may_be_relative_to_the_bundle() {
    needs::root();
    let mut bundle = Bundle::new("cat /file");
    fs::write(bundle.path().join("beside"), "mine").expect("it is ours");
    bundle.push(
        "/mounts",
        json!({"destination": "/file", "type": "bind", "source": "beside",
            "options": ["bind"]}),
    );
    assert_eq!(bundle.says(), "mine");
}

fn a_tmpfs_may_begin_with_what_it_covers() {
    needs::root();
    let script = "cat /etc/mine/file; readlink /etc/mine/link; \
                  stat -c %a,%u /etc/mine/file; echo new > /etc/mine/file";
    let bundle = Bundle::new(script);
    let mut bundle = bundle.with_capabilities(&["CAP_DAC_OVERRIDE"]);
    let place = bundle.root().join("etc/mine");
    fs::create_dir(&place).expect("it is ours");
    let file = place.join("file");
    fs::write(&file, "before\n").expect("it is ours");
    std::os::unix::fs::chown(&file, Some(77), None).expect("we are root");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640))
        .expect("it is ours");
    std::os::unix::fs::symlink("/etc/shadow", place.join("link"))
        .expect("it is ours");
    bundle.push("/mounts", tmpfs("/etc", &["tmpcopyup"]));
    assert_eq!(bundle.says(), "before\n/etc/shadow\n640,77");
    let before = fs::read_to_string(&file).expect("it is there");
    assert_eq!(before, "before\n");
}

fn devices_are_there_that_nobody_lists() {
    needs::root();
    let script = "cd /dev; stat -c %n,%F,%t,%T null zero full random urandom \
                  tty; for l in fd stdin stdout stderr ptmx; do readlink $l; \
                  done; echo x > null";
    let said = Bundle::new(script).says();
    let expected = "\
null,character special file,1,3
zero,character special file,1,5
full,character special file,1,7
random,character special file,1,8
urandom,character special file,1,9
tty,character special file,5,0
/proc/self/fd
/proc/self/fd/0
/proc/self/fd/1
/proc/self/fd/2
pts/ptmx";
    assert_eq!(said, expected);
}

fn devices_of_the_file_are_made() {
    needs::root();
    let script = "stat -c %F,%t,%T,%a,%u,%g /dev/mine /dev/d/pipe";
    let mut bundle = Bundle::new(script);
    bundle.config["linux"]["devices"] = json!([
        {"path": "/dev/mine", "type": "c", "major": 10, "minor": 229,
            "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/d/pipe", "type": "p", "fileMode": 0o622},
    ]);
    let expected = "character special file,a,e5,640,3,4\nfifo,0,0,622,0,0";
    assert_eq!(bundle.says(), expected);
    bundle.push(
        "/linux/devices",
        json!({"path": "/etc/passwd", "type": "c",
        "major": 1, "minor": 3}),
    );
    assert!(bundle.is_refused().contains("another file of that name"));
}

fn paths_are_masked_and_read_only() {
    needs::root();
    let script = "wc -c < /etc/secret; ls /etc/hidden | wc -l; echo x > \
                  /etc/fixed/file || echo refused; echo x > /etc/hidden/x || \
                  echo refused; echo 1 > /proc/sys/kernel/hostname || echo no";
    let mut bundle = Bundle::new(script);
    let etc = bundle.root().join("etc");
    fs::write(etc.join("secret"), "secret").expect("it is ours");
    fs::create_dir_all(etc.join("hidden/below")).expect("it is ours");
    fs::create_dir_all(etc.join("fixed")).expect("it is ours");
    let linux = &mut bundle.config["linux"];
    linux["maskedPaths"] = json!(["/etc/secret", "/etc/hidden", "/nowhere"]);
    linux["readonlyPaths"] = json!(["/etc/fixed", "/proc/sys", "/nowhere"]);
    assert_eq!(bundle.says(), "0\n0\nrefused\nrefused\nno");
}

/// The letters of mountinfo: see proc(5).
fn mounts_propagate_as_asked() {
    needs::root();
    let script = "while read a b c d e f g h; do [ $e = / ] && echo \"$g\"; \
                  done < /proc/self/mountinfo; true";
    for (word, shown) in [
        ("", "-"),
        ("private", "-"),
        ("shared", "shared"),
        ("rshared", "shared"),
        ("unbindable", "unbindable"),
        ("slave", "-"),
    ] {
        let mut bundle = Bundle::new(script);
        if !word.is_empty() {
            bundle.config["linux"]["rootfsPropagation"] = json!(word);
        }
        let said = bundle.says();
        assert!(said.starts_with(shown), "{word}: {said}");
    }
}

fn the_cgroup_is_shown() {
    needs::root();
    let script =
        "ls /sys/fs/cgroup | wc -l; echo > /sys/fs/cgroup/x || echo no";
    let mut bundle = Bundle::new(script);
    bundle.push(
        "/mounts",
        json!({"destination": "/sys", "type": "sysfs",
        "source": "sysfs", "options": ["ro"]}),
    );
    bundle.push(
        "/mounts",
        json!({"destination": "/sys/fs/cgroup",
        "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]}),
    );
    let said = bundle.says();
    let (number, refused) = said.split_once('\n').expect("two lines");
    assert!(number.trim().parse::<u32>().expect("a number") > 0);
    assert_eq!(refused, "no");
}
